"""Tags of the admin's templates: each calls one service."""

from __future__ import annotations
