"""A platform that is broken on purpose: times scaled down, everything else as it ships."""

from __future__ import annotations

import json
import os

from django_cybs_jwt.tasks import beat_schedule
from django_cybs_jwt.testing.ring import testing_ring
from tests.faults.counting import READ
from tests.settings import *  # noqa: F403

_url = os.environ["DATABASE_URL"]
if _url.startswith("sqlite:///"):
    DATABASES = {
        "default": {
            "ENGINE": "django.db.backends.sqlite3",
            "NAME": _url.removeprefix("sqlite:///"),
            "OPTIONS": {
                "transaction_mode": "IMMEDIATE",
                "timeout": 20,
                "init_command": "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL;",
            },
        }
    }

else:
    DATABASES["default"]["CONN_MAX_AGE"] = 600  # as docs/celery.md recommends

TOTAL = 5.0
SWEEP_EVERY = 1.0
BASE_URLS = json.loads(os.environ.get("FAULTS_BASE_URLS", "{}"))
CELERY_BROKER_URL = os.environ.get("FAULTS_BROKER") or None
QUEUE_NAME = os.environ.get("FAULTS_QUEUE", "cybs-faults")

CYBS_JWT = {
    "KEYRING": testing_ring(),
    "BASE_URLS": BASE_URLS,
    "DOORBELL": "django_cybs_jwt.tasks.ring" if CELERY_BROKER_URL else None,
    "TASK_QUEUES": {"default": QUEUE_NAME, "resolve": f"{QUEUE_NAME}-care"},
    "TIMEOUT": {"connect": 1.0, "read": READ, "write": 1.0, "pool": 1.0, "total": TOTAL},
    "PROFILES": {host: {"lifetime": 15} for host in BASE_URLS},
    "QUEUE": {
        "lease": 9.0,
        "gateway": 5.0,
        "skew": 1.0,
        "first_retry": 0.2,
        "longest_retry": 2.0,
        "first_look": 1.0,
        "looks": 40,
        "ring_again": 1.0,
    },
}
if os.environ.get("FAULTS_BY_HOST"):
    # The second host has a queue of its own.
    CYBS_JWT["TASK_QUEUES"][list(BASE_URLS)[1]] = f"{QUEUE_NAME}-slow"
# As docs/celery.md recommends for a dedicated worker, the time-out scaled down.
CELERY_WORKER_PREFETCH_MULTIPLIER = 1
CELERY_WORKER_SOFT_SHUTDOWN_TIMEOUT = 6.0
CELERY_WORKER_CANCEL_LONG_RUNNING_TASKS_ON_CONNECTION_LOSS = False
CELERY_DB_REUSE_MAX = 1_000  # else Celery closes the database's connections after every task
CELERY_TASK_SERIALIZER = "json"
CELERY_ACCEPT_CONTENT = ["json"]
# The faults break connections all the time: come back at once, and for ever.
CELERY_BROKER_CONNECTION_RETRY_ON_STARTUP = True
CELERY_BROKER_CONNECTION_MAX_RETRIES = None
CELERY_WORKER_HIJACK_ROOT_LOGGER = False
CELERY_RESULT_BACKEND = os.environ.get("FAULTS_RESULTS") or None
if (CELERY_BROKER_URL or "").startswith("amqp"):
    CELERY_TASK_CREATE_MISSING_QUEUE_TYPE = "quorum"
else:
    # Short on purpose: the trap of a message that is delivered twice while it is worked on.
    CELERY_BROKER_TRANSPORT_OPTIONS = {"visibility_timeout": 3}
CELERY_BEAT_SCHEDULE = beat_schedule(queue=f"{QUEUE_NAME}-care")
CELERY_BEAT_SCHEDULE["cybs-jwt-sweep"]["schedule"] = SWEEP_EVERY
LOGGING_CONFIG = None
