"""Settings of the example platform. What an environment variable can change is read at the top."""

from __future__ import annotations

import os
from pathlib import Path

from django_cybs_jwt.tasks import beat_schedule
from example.environment import parse_base_urls, parse_database_url

DATA = Path(__file__).resolve().parent.parent / "data"
DATA.mkdir(exist_ok=True)

DATABASE_URL = os.environ.get("DATABASE_URL") or f"sqlite:///{DATA / 'db.sqlite3'}"
KEYRING_FILE = os.environ.get("CYBS_KEYRING_FILE") or str(DATA / "keyring.json")
CELERY_BROKER_URL = os.environ.get("CELERY_BROKER_URL") or "filesystem://"
# Where no Celery worker runs, `cybs_worker` looks by itself and needs no ring.
DOORBELL = os.environ.get("CYBS_DOORBELL") or None
BASE_URLS = parse_base_urls(os.environ.get("CYBS_BASE_URLS") or "{}")
# Of a gateway that no public authority vouches for, like `cybs_simulator --tls`.
CA_BUNDLE = os.environ.get("CYBS_CA_BUNDLE") or None

# A platform of your own keeps this out of the source; the example has nothing to protect.
SECRET_KEY = "example-only-not-a-secret"  # noqa: S105
DEBUG = os.environ.get("DEBUG") == "1"
ALLOWED_HOSTS = ["127.0.0.1", "localhost", "testserver"]

INSTALLED_APPS = [
    "django.contrib.admin",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.messages",
    "django.contrib.sessions",
    "django.contrib.staticfiles",
    "django_cybs_jwt",
    "orders",
]
MIDDLEWARE = [
    "django.middleware.security.SecurityMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
]
TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
            ]
        },
    }
]
ROOT_URLCONF = "example.urls"
DATABASES = {"default": parse_database_url(DATABASE_URL)}
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
STATIC_URL = "static/"
USE_TZ = True
TIME_ZONE = "UTC"
LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "handlers": {"console": {"class": "logging.StreamHandler"}},
    # Not passed on: a Celery worker prints what reaches the root, and would print it twice.
    "loggers": {
        "django_cybs_jwt": {"handlers": ["console"], "level": "INFO", "propagate": False},
    },
}

# The sweep of the queue, and the tick: scheduled activations, ends of overlaps, alerts.
CELERY_BEAT_SCHEDULE = beat_schedule()
if CELERY_BROKER_URL.startswith("filesystem"):
    BROKER = DATA / "broker"
    BROKER.mkdir(exist_ok=True)
    CELERY_BROKER_TRANSPORT_OPTIONS = {
        "data_folder_in": str(BROKER),
        "data_folder_out": str(BROKER),
        "control_folder": str(BROKER / "control"),
    }

CYBS_JWT = {
    "KEYRING_FILE": KEYRING_FILE,
    "BASE_URLS": BASE_URLS,
    "CA_BUNDLE": CA_BUNDLE,
    "DOORBELL": DOORBELL,
}
