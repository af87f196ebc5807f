"""System checks cybs_jwt.W001 to W028: what is wrong before it costs a payment.

All are warnings, because an error would lock out `migrate` and `cybs_keyring generate`,
which run before a ring exists. docs/checks.md says which of them are refused at first use.
`manage.py check --fail-level WARNING` makes a deployment stop on them.
W011 spoke of what W001 refuses by now; no number is used twice.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterable, Iterator
from functools import wraps
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from django.apps import apps
from django.conf import settings as django_settings
from django.core import checks
from django.core.checks import CheckMessage, Warning  # noqa: A004  # Django's own name
from django.core.exceptions import ImproperlyConfigured
from django.db import Error, connections
from django.db.models import BinaryField, Model
from django.utils import timezone

from django_cybs_jwt import conf
from django_cybs_jwt.exceptions import ConfigurationError, KeyRingError
from django_cybs_jwt.protocol.hosts import is_live
from django_cybs_jwt.sealing.ring_file import is_world_readable

if TYPE_CHECKING:
    from django_cybs_jwt.services.doorbell import Broker

Check = Callable[..., list[CheckMessage]]
_SMTP: Final = "django.core.mail.backends.smtp.EmailBackend"

MANY: Final = 10_000
"""Organizations from which on PostgreSQL's estimates make it compile."""

TESTING_RING: Final = "testing"
"""KEK id of the ring that django_cybs_jwt.testing ships for everyone to see."""


def register() -> None:
    """Wire the checks; the one that reads rows runs only where databases are checked."""
    for check in (
        check_settings,
        check_keyring,
        check_sqlite,
        check_doorbell,
        check_channels,
        check_time_zone,
        check_histories,
    ):
        checks.register(_unfailing(check), "cybs_jwt")
    checks.register(_unfailing(check_rows), checks.Tags.database)


def _unfailing(check: Check) -> Check:
    """W023: a check that breaks on what it finds must not stop the command around it."""

    @wraps(check)
    def checked(**options: Any) -> list[CheckMessage]:
        try:
            return check(**options)
        except Exception as error:  # noqa: BLE001
            told = f"{check.__name__} could not be carried out: {type(error).__name__}."
            return [_warn(23, told, "Correct settings.CYBS_JWT; docs/settings.md lists it.")]

    return checked


def check_settings(**_: Any) -> list[CheckMessage]:
    """W001, W005, W006, W009, W010, W026."""
    try:
        loaded = conf.current()
        conf.operations()
        conf.client_config()
        for host in loaded.PROFILES:
            loaded.profile(host)
    except ConfigurationError as error:
        return [_warn(1, error.english, "Correct settings.CYBS_JWT; docs/settings.md lists it.")]
    return [*_settings_faults(loaded), *_policies_in_vain(loaded)]


def check_keyring(**_: Any) -> list[CheckMessage]:
    """W002, W003, W004, W007."""
    try:
        ring = conf.keyring()
        path = conf.current().KEYRING_FILE
    except KeyRingError as error:
        return [_warn(2, error.english, "Nothing can be sealed or opened until there is a ring.")]
    except ConfigurationError:
        return []  # W001 speaks of it
    found: list[CheckMessage] = []
    if any(ring.equals_or_derives(secret) for secret in _secret_keys()):
        hint = "Generate a ring of its own: SECRET_KEY leaks more easily and is rotated alone."
        found.append(_warn(3, "The key ring holds SECRET_KEY or what it derives.", hint))
    if conf.current().KEYRING is None and path is not None and is_world_readable(path):
        hint = f"chmod 600 {path}"
        found.append(_warn(4, "Every account on this machine can read the key ring.", hint))
    if conf.current().LIVE and TESTING_RING in ring.ids():
        hint = "Generate a ring with `manage.py cybs_keyring generate` and import the keys again."
        found.append(_warn(7, "LIVE is True with the published testing key ring.", hint))
    return found


def check_sqlite(**_: Any) -> list[CheckMessage]:
    """W008."""
    return [
        _warn(
            8,
            f"SQLite database {alias!r} begins its transactions deferred.",
            "Set OPTIONS['transaction_mode'] = 'IMMEDIATE'; two writers would fail at random.",
        )
        for alias, database in django_settings.DATABASES.items()
        if database.get("ENGINE", "").endswith("sqlite3")
        and str(database.get("OPTIONS", {}).get("transaction_mode", "")).upper()
        not in ("IMMEDIATE", "EXCLUSIVE")
    ]


def check_rows(*, databases: Iterable[str] | None = None, **_: Any) -> list[CheckMessage]:
    """W012, W020, W021, W027."""
    if "default" not in (databases or ()):
        return []
    looks = (_hosts_without_certificate, _weak_durability, _mail_without_timeout, _compiled_counts)
    return [message for look in looks for message in _guarded(look)]


def check_doorbell(**_: Any) -> list[CheckMessage]:
    """W013 to W019, W028."""
    # Late: the models exist only once every app is loaded.
    from django_cybs_jwt.services import doorbell

    try:
        conf.current()
    except ConfigurationError:
        return []  # W001 speaks of it
    try:
        broker = doorbell.broker()
    except ConfigurationError as error:
        return [_warn(13, error.english, "Nobody is rung; the rows wait for a sweeper.")]
    return [] if broker is None else list(_broker_faults(broker))


def check_channels(**_: Any) -> list[CheckMessage]:
    """W022."""
    # Late: the models exist only once every app is loaded.
    from django_cybs_jwt.services.alerts import channels

    found: list[CheckMessage] = []
    try:
        names = conf.current().ALERT_CHANNELS
    except ConfigurationError:
        return []  # W001 speaks of it
    for name in names:
        try:
            channels.channel(name)
        except ConfigurationError as error:
            found.append(_warn(22, error.english, "Nobody is told through it; others are told."))
    return found


def check_time_zone(**_: Any) -> list[CheckMessage]:
    """W024."""
    if django_settings.USE_TZ:
        return []
    hint = "Set USE_TZ = True; TIME_ZONE stays what it is, and pages show times in it."
    return [_warn(24, "USE_TZ is False: times without a zone cannot be told apart.", hint)]


def check_histories(**_: Any) -> list[CheckMessage]:
    """W025."""
    hint = (
        "Unregister it, or exclude its sealed columns and silence this check: what is kept there "
        "outlives the destruction of a key. The audit trail says who did what."
    )
    return [
        _warn(25, f"{keeper} keeps versions of {model.__name__}.", hint)
        for model in apps.get_app_config("cybs_jwt").get_models()
        for keeper in _keepers(model)
    ]


def _keepers(model: type[Model]) -> Iterator[str]:
    """The packages that write down each change of *model*, if anything in it is sealed."""
    facts = model._meta  # noqa: SLF001  # public, for all its name
    if not any(isinstance(field, BinaryField) for field in facts.fields):
        return
    if apps.is_installed("reversion") and import_module("reversion").is_registered(model):
        yield "django-reversion"
    if hasattr(facts, "simple_history_manager_attribute"):
        yield "django-simple-history"


def _settings_faults(loaded: conf.Settings) -> Iterator[CheckMessage]:
    for host in loaded.BASE_URLS:
        if is_live(host):
            yield _warn(
                5,
                f"Requests for the live host {host} are sent elsewhere by BASE_URLS.",
                "Right for an egress proxy that you own; remove the entry otherwise.",
            )
    if loaded.LIVE and django_settings.DEBUG:
        yield _warn(6, "LIVE is True and DEBUG is True.", "Set DEBUG = False.")
    if loaded.CA_BUNDLE is not None and not Path(loaded.CA_BUNDLE).is_file():
        yield _warn(9, f"CA_BUNDLE {loaded.CA_BUNDLE} is no file.", "Give the path of a PEM file.")
    interpreter = loaded.P12_INTERPRETER
    if interpreter is not None and shutil.which(interpreter) is None:
        hint = "Give a Python that can import cryptography, or leave the setting out."
        yield _warn(10, f"P12_INTERPRETER {interpreter} cannot be run.", hint)


def _policies_in_vain(loaded: conf.Settings) -> Iterator[CheckMessage]:
    # Late: the models exist only once every app is loaded.
    from django_cybs_jwt.services.queue import safety

    for operation, policy in loaded.RESOLVE.items():
        possible = safety.POLICIES[safety.of(operation)]
        if policy in possible:
            continue
        hint = f"Possible: {', '.join(sorted(possible))}."
        if not possible:
            hint = "It can be sent again, and is. Leave it out."
        yield _warn(26, f"RESOLVE cannot clear up {operation} by {policy!r}.", hint)


def _broker_faults(broker: Broker) -> Iterator[CheckMessage]:
    timeout, lease = conf.current().timeout, conf.current().queue.lease
    longest = timeout.total + timeout.read
    if not broker.configured:
        hint = "Import your Celery app in your project's __init__.py; docs/celery.md."
        yield _warn(14, "DOORBELL rings Celery, and this process has no app with a broker.", hint)
        return
    if broker.prefetch != 1:
        hint = "Set worker_prefetch_multiplier = 1 for the workers of this queue."
        yield _warn(15, f"A worker prefetches {broker.prefetch} rings behind a slow one.", hint)
    if not broker.acks_late or broker.cancels_on_connection_loss:
        hint = (
            "Leave acks_late and reject_on_worker_lost of our tasks as they are, and "
            "worker_cancel_long_running_tasks_on_connection_loss at False."
        )
        yield _warn(16, "A killed worker or a lost broker loses rings or cuts off sends.", hint)
    if 0 < broker.time_limit < longest:
        hint = (
            f"Leave the time limits of our tasks as they are, or annotate them above {longest:g}."
        )
        yield _warn(17, f"A time limit kills a send after {broker.time_limit:g} s.", hint)
    if not broker.reuse and not broker.greenlets and _keeps_connections():
        hint = "In a worker of this queue alone set CELERY_DB_REUSE_MAX; docs/celery.md says how."
        yield _warn(28, "Celery closes the database's connections after every task.", hint)
    if broker.greenlets and _keeps_connections():
        hint = "Set CONN_MAX_AGE = 0, or use threads: each greenlet opens a connection of its own."
        yield _warn(18, "gevent or eventlet with persistent database connections.", hint)
    if broker.transport.startswith(("redis", "sentinel")) and broker.visibility <= lease:
        hint = f"Set visibility_timeout above the lease of {lease:g} s."
        yield _warn(19, "Redis delivers a ring again while its row is being sent.", hint)


def _keeps_connections() -> bool:
    return any(
        database.get("CONN_MAX_AGE", 0) != 0 and not database.get("OPTIONS", {}).get("pool")
        for database in django_settings.DATABASES.values()
    )


def _weak_durability() -> list[CheckMessage]:
    from django_cybs_jwt.services.queue import durability

    fault = durability.weakness()
    hint = "Nothing is sent from the queue until then."
    return [] if fault is None else [_warn(20, fault, hint)]


def _hosts_without_certificate() -> list[CheckMessage]:
    # Late: the models exist only once every app is loaded.
    from django_cybs_jwt.services.gateway_certificates import hosts_without_certificate

    return [
        _warn(
            12,
            f"No valid request-MLE certificate for {count} signing key(s) on {host}.",
            "Import a newer P12, or add the host's: manage.py cybs_gateway_cert add FILE "
            f"--host {host}. Until then encrypted requests are refused, not sent in clear.",
        )
        for host, count in hosts_without_certificate(now=timezone.now()).items()
    ]


def _mail_without_timeout() -> list[CheckMessage]:
    from django_cybs_jwt.models import AlertRecipient

    told = AlertRecipient.objects.filter(channel=AlertRecipient.Channel.MAIL, active=True)
    if not (_smtp_may_hang() and told.exists()):
        return []
    hint = "Set EMAIL_TIMEOUT = 30, from Django 6.1 on MAILERS['default']['OPTIONS']['timeout']."
    return [_warn(21, "Alerts go out by SMTP without a timeout: one may hang and stop all.", hint)]


def _compiled_counts() -> list[CheckMessage]:
    from django_cybs_jwt.models import Organization

    connection = connections["default"]
    if connection.vendor != "postgresql":
        return []
    with connection.cursor() as cursor:
        cursor.execute("SHOW jit")
        (jit,) = cursor.fetchone()
    if jit == "off" or not Organization.objects.order_by()[MANY:].exists():
        return []
    hint = "Set DATABASES['default']['OPTIONS'] = {'options': '-c jit=off'}."
    return [_warn(27, "PostgreSQL compiles the admin's counts, for longer than it counts.", hint)]


def _smtp_may_hang() -> bool:
    mailers = getattr(django_settings, "MAILERS", None)
    if mailers is None:
        backend, timeout = django_settings.EMAIL_BACKEND, django_settings.EMAIL_TIMEOUT
    else:
        mailer = mailers.get("default", {})
        backend = mailer.get("BACKEND", _SMTP)
        timeout = mailer.get("OPTIONS", {}).get("timeout")
    return backend == _SMTP and timeout is None


def _guarded(check: Callable[[], list[CheckMessage]]) -> list[CheckMessage]:
    try:
        with connections["default"].cursor():
            return check()
    except Error:
        return []  # before the first migrate there are no rows to speak of


def _secret_keys() -> list[str]:
    fallbacks = getattr(django_settings, "SECRET_KEY_FALLBACKS", [])
    try:
        own = django_settings.SECRET_KEY
    except ImproperlyConfigured:  # it is empty, which Django minds where it is used
        own = ""
    return [key for key in (own, *fallbacks) if isinstance(key, str) and key]


def _warn(number: int, message: str, hint: str) -> CheckMessage:
    return Warning(message, hint=hint, id=f"cybs_jwt.W{number:03}")
