"""The Celery tasks, one call each into a service, and the ring. The one module that imports Celery.

Services are imported late: a settings module may call `beat_schedule` before the apps are there.
"""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, Any, Final

from celery import Celery, current_app, shared_task

if TYPE_CHECKING:
    from uuid import UUID

    from django_cybs_jwt.services.doorbell import Broker
    from django_cybs_jwt.services.queue.bells import Bell

SEND: Final = "django_cybs_jwt.send"
SWEEP: Final = "django_cybs_jwt.sweep"
TICK: Final = "django_cybs_jwt.tick"
VERIFY: Final = "django_cybs_jwt.verify"
SWEEP_EVERY: Final = 5.0  # seconds
EVERY: Final = 60.0  # seconds
STALE: Final = 300.0  # seconds

LONGEST: Final = 3600.0  # seconds

# On our own tasks only; the host's global configuration stays as it is. None would let it in here:
# Celery takes that for "as configured".
_OPTIONS: Final[dict[str, Any]] = {
    "ignore_result": True,
    "store_errors_even_if_ignored": False,
    "track_started": False,
    "serializer": "json",
    "max_retries": 0,
    "rate_limit": 0,  # no limit
    # A limit kills what is on the wire; TIMEOUT bounds a send from inside.
    "time_limit": LONGEST,
    "soft_time_limit": LONGEST,
}
_SENDING: Final[dict[str, Any]] = {
    **_OPTIONS,
    # A ring that is delivered again finds its row done, or not due: better twice than lost.
    "acks_late": True,
    "reject_on_worker_lost": True,
    "acks_on_failure_or_timeout": True,
    "acks_on_failure": True,
    "acks_on_timeout": True,
    "retry_on_worker_lost": False,
}


@shared_task(name=SEND, **_SENDING)  # type: ignore[untyped-decorator]
def send(request_id: str) -> None:
    """Do what is due with one row. May be lost, repeated or run twice at once."""
    from django_cybs_jwt.services.queue import working

    working.afresh(lambda: working.attend(request_id))


@shared_task(name=SWEEP, **_OPTIONS)  # type: ignore[untyped-decorator]
def sweep() -> None:
    """End leases and deadlines, ring again. May be lost, repeated or run twice at once."""
    from django_cybs_jwt.services.queue import database_clock, sweeping, working

    working.afresh(lambda: sweeping.sweep(database_clock.now()))


@shared_task(name=TICK, **_OPTIONS)  # type: ignore[untyped-decorator]
def tick() -> None:
    """Do all that is due. May be lost, repeated or run twice at once."""
    from django_cybs_jwt.services import ticking
    from django_cybs_jwt.services.queue import database_clock, working

    working.afresh(lambda: ticking.tick(database_clock.now()))


@shared_task(name=VERIFY, **_OPTIONS)  # type: ignore[untyped-decorator]
def verify() -> None:
    """Verify the keys that were marked, sooner than the next tick would."""
    from django_cybs_jwt.services import verifying
    from django_cybs_jwt.services.queue import working

    working.afresh(verifying.answer_ring)


def beat_schedule(*, queue: str | None = None) -> dict[str, dict[str, Any]]:
    """Entries for CELERY_BEAT_SCHEDULE: a sweep every 5 s and a tick a minute, into *queue*.

    One that waited five minutes is dropped: more of them do no more. Not sooner, as the moment is
    written by beat's clock and read by the worker's.
    """
    where = {} if queue is None else {"queue": queue}
    return {
        name: {"task": task, "schedule": every, "options": {"expires": STALE, **where}}
        for name, task, every in (
            ("cybs-jwt-sweep", SWEEP, SWEEP_EVERY),
            ("cybs-jwt-tick", TICK, EVERY),
        )
    }


class Ring:
    """What the setting DOORBELL names: wakes a Celery worker, in the background.

    Never waits for the broker and never raises because of it.
    """

    def __init__(self) -> None:
        self._bell: Bell | None = None
        self._app: Celery = None
        self._producer: Any = None
        self._inherited: list[Any] = []
        if hasattr(os, "register_at_fork"):
            os.register_at_fork(after_in_child=self._forget)

    def __call__(self, request_id: UUID, host: str) -> None:
        """Ring for one row. Raises ConfigurationError where this process has no Celery app."""
        self._ring(SEND, (str(request_id),), host)

    def verify(self) -> None:
        """Ring for keys that are marked, among those who look after things rather than send."""
        from django_cybs_jwt.services.doorbell import RESOLVE

        self._ring(VERIFY, (), RESOLVE)

    def _ring(self, task: str, arguments: tuple[str, ...], whom: str) -> None:
        app = current_app._get_current_object()  # noqa: SLF001  # the bell's thread has another
        if not _is_configured(app):
            from django_cybs_jwt.exceptions import ConfigurationError

            raise ConfigurationError(
                "DOORBELL rings Celery and this process has no Celery app with a broker. Import "
                "your app in your project's __init__.py, as Celery's own guide says."
            )
        if app.conf.task_always_eager:
            app.tasks[task].apply_async(arguments)
            return
        self._app = app
        self.bell.ring(task, arguments, whom)

    @property
    def bell(self) -> Bell:
        """The one of this process."""
        if self._bell is None:
            from django_cybs_jwt.services.queue.bells import Bell

            self._bell = Bell(self._publish)
        return self._bell

    def flush(self, timeout: float) -> bool:
        """Wait at most *timeout* seconds until all rings are out, or were given up."""
        return self.bell.flush(timeout)

    def is_away(self) -> bool:
        """True where the broker did not take what was rung; waits for that a few seconds."""
        return not self.flush(2 * _PATIENCE) or self.bell.rests

    def broker(self) -> Broker:
        """How Celery is configured in this process, for the system checks."""
        from django_cybs_jwt.services.doorbell import Broker

        app = current_app._get_current_object()  # noqa: SLF001
        conf = app.conf
        options = conf.broker_transport_options or {}
        modules = {"gevent", "eventlet"}
        return Broker(
            configured=_is_configured(app),
            transport=app.connection_for_write().transport_cls or "",
            prefetch=conf.worker_prefetch_multiplier,
            acks_late=bool(app.tasks[SEND].acks_late and app.tasks[SEND].reject_on_worker_lost),
            cancels_on_connection_loss=bool(
                conf.worker_cancel_long_running_tasks_on_connection_loss
            ),
            time_limit=min(_limits(app.tasks[SEND]), default=0.0),
            visibility=options.get("visibility_timeout", 3600.0),
            greenlets=conf.worker_pool in modules or bool(modules & set(sys.modules)),
            reuse=conf.get("CELERY_DB_REUSE_MAX") or 0,
        )

    def _publish(self, task: str, arguments: tuple[str, ...], whom: str) -> None:
        from django_cybs_jwt import conf

        queues = conf.current().TASK_QUEUES
        queue = queues.get(whom) or queues.get("default")
        routing = {} if queue is None else {"queue": queue}
        try:
            if self._producer is None:
                self._producer = _producer(self._app)
            self._app.tasks[task].apply_async(
                arguments,
                producer=self._producer,
                retry=False,
                # On disk is the row; a ring that a restart loses is rung again.
                delivery_mode="transient",
                **routing,
            )
        except BaseException:
            self._producer = None  # not closed: a goodbye may hang as well
            raise

    def _forget(self) -> None:
        """A forked child must not speak on its parent's connection: it is one socket for both."""
        # Held: collecting it might say goodbye there.
        self._inherited.append(self._producer)
        self._producer = None


ring: Final = Ring()

_PATIENCE: Final = 2.0  # seconds
_BOUNDS: Final[dict[str, dict[str, Any]]] = {
    "amqp": {"read_timeout": _PATIENCE, "write_timeout": _PATIENCE},
    "redis": {"socket_timeout": _PATIENCE, "socket_connect_timeout": _PATIENCE},
}


def _producer(app: Celery) -> Any:
    """On a connection of the bell's own, on which nothing waits for ever."""
    connection = app.connection_for_write(connect_timeout=_PATIENCE)
    driver = connection.transport.driver_type
    connection.transport_options.update(_BOUNDS.get(driver, {}), max_retries=0)
    return app.amqp.Producer(connection, auto_declare=False)


def _limits(task: Any) -> list[float]:
    """Those that stand once the host has annotated the task, in seconds."""
    return [limit for limit in (task.time_limit, task.soft_time_limit) if limit]


def _is_configured(app: Celery) -> bool:
    return bool(app.conf.broker_write_url or app.conf.broker_url or app.conf.task_always_eager)
