"""What the environment says, read once; ImproperlyConfigured says what is wrong with it."""

from __future__ import annotations

import json
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

from django.core.exceptions import ImproperlyConfigured

ENGINES = {
    "postgres": "postgresql",
    "postgresql": "postgresql",
    "mysql": "mysql",
    "mariadb": "mysql",
}


def parse_database_url(url: str) -> dict[str, Any]:
    """`sqlite:///path`, `postgres://user:password@host:port/name?sslmode=require` or `mysql://...`.

    What stands behind the question mark goes to the database's driver.
    """
    scheme, _, rest = url.partition("://")
    if scheme == "sqlite":
        return {
            "ENGINE": "django.db.backends.sqlite3",
            "NAME": rest.removeprefix("/") or ":memory:",
            # One writer at a time, waiting its turn, instead of failing in the middle.
            "OPTIONS": {"transaction_mode": "IMMEDIATE", "timeout": 20},
        }
    if scheme not in ENGINES:
        known = ", ".join(["sqlite", *ENGINES])
        raise ImproperlyConfigured(f"DATABASE_URL begins with one of {known}, then ://")
    parts = urlsplit(url)
    try:
        port = str(parts.port or "")
    except ValueError:
        raise ImproperlyConfigured("DATABASE_URL has a port that is no number.") from None
    return {
        "ENGINE": f"django.db.backends.{ENGINES[scheme]}",
        "NAME": parts.path.removeprefix("/"),
        "USER": unquote(parts.username or ""),
        "PASSWORD": unquote(parts.password or ""),
        "HOST": parts.hostname or "",
        "PORT": port,
        "OPTIONS": dict(parse_qsl(parts.query, keep_blank_values=True)),
    }


def parse_base_urls(text: str) -> dict[str, str]:
    """A JSON object: gateway host to base URL."""
    try:
        found = json.loads(text)
    except ValueError:
        found = None
    if not isinstance(found, dict):
        raise ImproperlyConfigured(
            'CYBS_BASE_URLS is a JSON object like {"apitest.cybersource.com": "http://127.0.0.1:1"}.'
        )
    return found
