from __future__ import annotations

pytest_plugins = ["django_cybs_jwt.testing.plugin"]
