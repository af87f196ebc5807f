"""Settings of a child process: a SQLite file and CYBS_JWT, both from the environment."""

from __future__ import annotations

import os
from ast import literal_eval

from tests.settings import *  # noqa: F403

DATABASES = {
    "default": {
        "ENGINE": "django.db.backends.sqlite3",
        "NAME": os.environ["SHELL_DATABASE"],
        "OPTIONS": {"transaction_mode": "IMMEDIATE"},
    }
}
CYBS_JWT = literal_eval(os.environ["SHELL_CYBS_JWT"])
SECRET_KEY = os.environ.get("SHELL_SECRET_KEY", SECRET_KEY)  # noqa: F405
