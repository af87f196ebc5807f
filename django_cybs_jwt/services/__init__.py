"""One use case a file, plain functions. The only writers of models."""

from __future__ import annotations
