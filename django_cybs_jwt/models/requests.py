"""Outbound requests: the durable record of what is to be sent, was sent, and came back."""

from __future__ import annotations

import uuid
from typing import Any, TypeVar

from django.db import DEFAULT_DB_ALIAS, models
from django.utils.translation import gettext_lazy as _

from django_cybs_jwt.models.organizations import Organization
from django_cybs_jwt.texts import Text, listed


class RequestState(models.TextChoices):
    """Where a request stands; services/queue/states.py holds the transitions."""

    QUEUED = "QUEUED", Text("Queued")
    SENDING = "SENDING", Text("Sending")
    IN_DOUBT = "IN_DOUBT", Text("In doubt")
    ANSWERED = "ANSWERED", Text("Answered")
    ABSENT = "ABSENT", Text("Absent")
    VOIDED = "VOIDED", Text("Voided")
    EXPIRED = "EXPIRED", Text("Expired")
    CANCELLED = "CANCELLED", Text("Cancelled")
    PARKED = "PARKED", Text("Parked")


ACTED_ON = [RequestState.QUEUED, RequestState.SENDING, RequestState.IN_DOUBT]
"""Somebody will look at these by themselves, at `due_at`."""

OPEN = [*ACTED_ON, RequestState.PARKED]
"""Not ended: these keep their payload."""


class Safety(models.TextChoices):
    """What a second sending of the same request would do."""

    SAFE = "SAFE", _("Reads only")
    REPEATABLE = "REPEATABLE", _("Same effect when repeated")
    GUARDED = "GUARDED", _("Moves money, undone by its transactionId")
    UNGUARDED = "UNGUARDED", _("May do its work twice")


_Row = TypeVar("_Row", bound=models.Model)


class OnDefault(models.Manager[_Row]):
    """Reads where the queue writes, whatever a database router says.

    A replica that lags would call a payment unsent, and its attempt not recorded.
    """

    def __init__(self) -> None:
        super().__init__()
        self._db = DEFAULT_DB_ALIAS


class OutboundRequest(models.Model):
    """One request that is sent until an end is proved, by whichever worker comes first.

    What was asked and answered is sealed; no clear column can hold card data. `due_at` is the one
    clock of a row: when somebody looks at it next, in whatever state. `waiting_since` is when it
    was first to be sent, which no postponement moves: what its age is counted from.
    """

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    # The unique constraint below begins with it: a second index would only cost writes.
    organization = models.ForeignKey(
        Organization,
        models.PROTECT,
        related_name="requests",
        db_index=False,
        verbose_name=_("organization"),
    )
    host = models.CharField(_("host"), max_length=253)
    operation = models.CharField(_("operation"), max_length=200)
    safety = models.CharField(_("safety"), max_length=10, choices=Safety.choices)
    idempotency_key = models.CharField(_("idempotency key"), max_length=128)
    fingerprint = models.CharField(max_length=64, editable=False)
    # None where it has none: of two that name one, the gateway's answer would be taken for both.
    transaction_id = models.CharField(  # noqa: DJ001  # every database lets many have none
        _("transactionId"), max_length=64, null=True, blank=True
    )
    priority = models.PositiveSmallIntegerField(_("priority"), default=5)
    deadline = models.DateTimeField(_("deadline"), null=True, blank=True)

    state = models.CharField(_("state"), max_length=9, choices=RequestState.choices)
    reason = models.CharField(_("reason"), max_length=40, blank=True)
    attempt = models.PositiveIntegerField(_("attempt"), default=0)
    failures = models.PositiveIntegerField(_("tries in vain"), default=0)
    looks = models.PositiveIntegerField(_("looks at the gateway"), default=0)
    maybe_sent = models.BooleanField(_("may have been processed"), default=False)
    due_at = models.DateTimeField(_("due"), null=True)
    waiting_since = models.DateTimeField(_("waits since"), null=True)
    jti = models.CharField(max_length=36, null=True, unique=True, editable=False)  # noqa: DJ001
    owner = models.CharField(_("worker"), max_length=120, blank=True)
    sent_at = models.DateTimeField(_("claimed"), null=True)
    fence_at = models.DateTimeField(_("fence"), null=True)
    rung_at = models.DateTimeField(_("rung"), null=True)
    rings = models.PositiveSmallIntegerField(default=0, editable=False)

    http_status = models.PositiveSmallIntegerField(_("HTTP status"), null=True)
    outcome = models.CharField(_("outcome"), max_length=64, blank=True)
    found = models.BooleanField(_("found by search"), default=False)
    gateway_id = models.CharField(_("gateway id"), max_length=64, blank=True)
    correlation_id = models.CharField(_("correlation id"), max_length=64, blank=True)
    caller_id = models.CharField(_("caller's correlation id"), max_length=64, blank=True)
    created_at = models.DateTimeField(_("created"))
    finished_at = models.DateTimeField(_("finished"), null=True)

    sealed_payload = models.BinaryField(null=True, editable=False)
    sealed_reply = models.BinaryField(null=True, editable=False)

    objects = OnDefault["OutboundRequest"]()

    class Meta:
        verbose_name = _("outbound request")
        verbose_name_plural = _("outbound requests")
        ordering = ["-created_at"]
        indexes = [
            models.Index(fields=["state", "priority", "due_at"], name="cybs_request_due"),
            models.Index(fields=["created_at"], name="cybs_request_created"),
        ]
        constraints = [
            models.UniqueConstraint(
                fields=["organization", "idempotency_key"], name="cybs_request_once_per_key"
            ),
            models.UniqueConstraint(
                fields=["organization", "transaction_id"], name="cybs_request_once_per_transaction"
            ),
            models.CheckConstraint(
                name="cybs_request_is_looked_at",
                condition=~models.Q(state__in=ACTED_ON) | models.Q(due_at__isnull=False),
            ),
            models.CheckConstraint(
                name="cybs_request_sends_what_it_names",
                condition=~models.Q(state=RequestState.SENDING)
                | models.Q(jti__isnull=False, fence_at__isnull=False, attempt__gt=0),
            ),
            models.CheckConstraint(
                name="cybs_request_keeps_its_payload",
                condition=~models.Q(state__in=OPEN) | models.Q(sealed_payload__isnull=False),
            ),
        ]

    def refresh_from_db(self, using: str | None = None, *arguments: Any, **options: Any) -> None:
        """See OnDefault; Django reads a deferred column by it too."""
        super().refresh_from_db(using or DEFAULT_DB_ALIAS, *arguments, **options)

    def __str__(self) -> str:
        named = [self.operation, self.idempotency_key]
        return str(listed([*named, self.get_state_display()]))


class Attempt(models.Model):
    """One try at the wire, written with its result; append-only."""

    class Kind(models.TextChoices):
        ANSWERED = "answered", _("Answered")
        NOT_PROCESSED = "not-processed", _("Refused before processing")
        NOT_SENT = "not-sent", _("Not sent")
        MAYBE = "maybe", _("Maybe processed")
        LOST = "lost", _("Its worker ended")

    request = models.ForeignKey(OutboundRequest, models.CASCADE, related_name="attempts")
    number = models.PositiveIntegerField(_("attempt"))
    jti = models.CharField(max_length=36, unique=True)
    key_id = models.CharField(_("key ID"), max_length=128, blank=True)
    kind = models.CharField(_("result"), max_length=13, choices=Kind.choices)
    phase = models.CharField(_("phase"), max_length=12, blank=True)
    reused = models.BooleanField(_("on an open connection"), default=False)
    http_status = models.PositiveSmallIntegerField(_("HTTP status"), null=True)
    correlation_id = models.CharField(_("correlation id"), max_length=64, blank=True)
    reason = models.CharField(_("reason"), max_length=40, blank=True)
    error = models.CharField(_("error"), max_length=60, blank=True)
    owner = models.CharField(_("worker"), max_length=120, blank=True)
    started_at = models.DateTimeField(_("started"))
    elapsed_ms = models.PositiveIntegerField(_("milliseconds"), null=True)
    report = models.TextField(_("report"), blank=True)
    request_encrypted = models.BooleanField(_("request encrypted"), null=True)
    reply_encrypted = models.BooleanField(_("reply encrypted"), null=True)

    objects = OnDefault["Attempt"]()

    class Meta:
        verbose_name = _("attempt")
        verbose_name_plural = _("attempts")
        ordering = ["started_at", "number"]
        constraints = [
            models.UniqueConstraint(fields=["request", "number"], name="cybs_attempt_once"),
        ]

    def __str__(self) -> str:
        return f"{self.request_id} {self.number} {self.kind}"
