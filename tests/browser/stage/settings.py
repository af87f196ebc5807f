"""A host project for browsers: STAGE_SITE says which kind, STAGE_DIR where its files are."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from tests import mail
from tests.database import from_environment
from tests.settings import *  # noqa: F403
from tests.settings import INSTALLED_APPS, MIDDLEWARE

DIRECTORY = Path(os.environ["STAGE_DIR"])
SITE = os.environ.get("STAGE_SITE", "stock")

ALLOWED_HOSTS = ["127.0.0.1"]
ROOT_URLCONF = f"tests.browser.stage.{SITE}"
INSTALLED_APPS = [
    *(["unfold"] if SITE == "unfolded" else []),
    *INSTALLED_APPS,
    "django.contrib.staticfiles",
]
# Unfold runs scripts that stand in its pages; the policy is for all others.
MIDDLEWARE = [
    *([] if SITE == "unfolded" else ["tests.browser.stage.policy.strict"]),
    *MIDDLEWARE,
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.middleware.locale.LocaleMiddleware",
]
TIME_ZONE = {"stock": "UTC", "elsewhere": "Asia/Kathmandu", "unfolded": "America/New_York"}[SITE]
PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"


def database() -> dict[str, Any]:
    """DATABASE_URL, or a file that several processes write to."""
    found = from_environment()
    if found["ENGINE"].endswith("sqlite3"):
        found["NAME"] = DIRECTORY / "stage.sqlite3"
        found["OPTIONS"] |= {"timeout": 30, "init_command": "PRAGMA journal_mode=WAL"}
    return found


DATABASES = {"default": database()}
CYBS_JWT = {
    "KEYRING_FILE": str(DIRECTORY / "keyring.json"),
    "BASE_URLS": json.loads(os.environ.get("STAGE_BASE_URLS", "{}")),
    # One of the sites asks for a second person; the other two show what one person does.
    "FOUR_EYES": SITE == "elsewhere",
}
globals().update(mail.through(mail.LOCMEM))
