"""Settings of a child process: a SQLite file and CYBS_JWT, both from the environment."""

from __future__ import annotations

import json
import os

from tests.settings import *  # noqa: F403

DATABASES = {
    "default": {
        "ENGINE": "django.db.backends.sqlite3",
        "NAME": os.environ["SHELL_DATABASE"],
        "OPTIONS": {"transaction_mode": "IMMEDIATE"},
    }
}
CYBS_JWT = json.loads(os.environ["SHELL_CYBS_JWT"])
