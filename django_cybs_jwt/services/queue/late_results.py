"""A result whose row is no longer as it was sent: its lease has ended, or a failover forgot it."""

from __future__ import annotations

import logging
from dataclasses import replace
from datetime import datetime

import django.db
from django.db import transaction

from django_cybs_jwt.exceptions import CybsError, OutcomeUnknown, QueueError
from django_cybs_jwt.models import Attempt, OutboundRequest, RequestState, Safety
from django_cybs_jwt.services.queue import payloads, telling
from django_cybs_jwt.services.queue.outcomes import Then
from django_cybs_jwt.services.queue.results import Result, of_attempt, take_step
from django_cybs_jwt.services.queue.states import TABLE, TERMINAL, TWICE, UNDOING, Step

logger = logging.getLogger(__name__)


def record(row: OutboundRequest, result: Result, now: datetime, tried: Attempt) -> None:
    """Take what *tried* came to as far as it still says something; *row* then is what is stored."""
    try:
        with transaction.atomic():
            _record_late(row, result, now, tried)
    except OutboundRequest.DoesNotExist:
        _store_again(row, result, now, tried)


def _record_late(row: OutboundRequest, result: Result, now: datetime, tried: Attempt) -> None:
    """The owner of a lease that has ended comes back: a real answer beats a guess."""
    number, before, fence = row.attempt, row.state, row.fence_at
    # Locked: who begins to undo it meanwhile must see the answer, or the answer the undoing.
    row.refresh_from_db(from_queryset=OutboundRequest.objects.select_for_update())
    kind = row.attempts.filter(jti=tried.jti).values_list("kind", flat=True).first()
    if kind is None:
        _record_forgotten(row, result, now, tried, fence)
    elif kind != Attempt.Kind.LOST:
        # Recorded before, by a COMMIT that was not acknowledged: nobody was told of it then.
        telling.moved(row, before, now=now)
    elif _says_something(result):
        ends = result.verdict.then == Then.END
        if not (ends and _beats(row, number) and take_step(row, result, now)):
            _keep(row, result, number, now)
        row.attempts.filter(number=number).update(**of_attempt(row, result, now))


def _says_something(result: Result) -> bool:
    """An answer; or a 2xx, which says that it was processed where it does not say what it is."""
    return result.verdict.then == Then.END or _says_it_was_taken(result)


def _says_it_was_taken(result: Result) -> bool:
    return 200 <= (result.status or 0) < 300


def _record_forgotten(
    row: OutboundRequest, result: Result, now: datetime, tried: Attempt, fence: datetime | None
) -> None:
    """A standby that was promoted does not know the claim under which this was sent.

    So it is one try more, whatever became of the row since. It ends a row that nothing else can
    have been sent for; else all of them are looked up together.
    """
    logger.error("The database has forgotten try %d of request %s", tried.number, row.pk)
    if result.verdict.then not in (Then.END, Then.DOUBT):
        return  # it was not processed
    tried.request, tried.number = row, row.attempt + 1
    if row.state in TERMINAL or row.reason in (UNDOING, TWICE):
        _record_in_vain(row, result, now, tried)
    elif _is_the_only_one(row):
        _take_over(row, result, now, tried, fence)
    elif _says_it_was_taken(result) or result.verdict.then == Then.DOUBT:
        reason = result.verdict.reason or "forgotten"
        doubt = replace(result.verdict, then=Then.DOUBT, reason=reason)
        _take_over(row, replace(result, verdict=doubt), now, tried, fence)
        if result.verdict.then == Then.END:
            _tell_late(row, result, tried.number, now)


def _is_the_only_one(row: OutboundRequest) -> bool:
    """True where nothing else can have been sent for it, or does no harm if it was."""
    if row.safety in (Safety.SAFE, Safety.REPEATABLE) or row.state == RequestState.QUEUED:
        return True
    return row.state == RequestState.PARKED and not row.maybe_sent


def _take_over(
    row: OutboundRequest, result: Result, now: datetime, tried: Attempt, fence: datetime | None
) -> None:
    fences = [each for each in (fence, row.fence_at) if each is not None]
    claim = {"attempt": tried.number, "jti": tried.jti or None, "owner": tried.owner}
    take_step(row, result, now, tried=tried, **claim, fence_at=max(fences, default=None))


def _record_in_vain(row: OutboundRequest, result: Result, now: datetime, tried: Attempt) -> None:
    """It has ended, perhaps as one that was never sent, or is being undone."""
    tried.save(force_insert=True)
    row.attempt, row.maybe_sent = tried.number, True
    counted = {"attempt": row.attempt, "maybe_sent": True}
    OutboundRequest.objects.filter(pk=row.pk).update(**counted)
    _keep(row, result, tried.number, now)


def _store_again(row: OutboundRequest, result: Result, now: datetime, tried: Attempt) -> None:
    """The same, where it does not know the row either."""
    logger.error("The database has forgotten request %s: it is stored again", row.pk)
    try:
        with transaction.atomic():
            row.save(force_insert=True)
            take_step(row, result, now, tried=tried)
    except django.db.IntegrityError:
        with transaction.atomic():
            _record_beside(row, result, now, tried)


def _record_beside(row: OutboundRequest, result: Result, now: datetime, tried: Attempt) -> None:
    """Its caller has made it again: then the try is one of that row's."""
    same = {"idempotency_key": row.idempotency_key, "fingerprint": row.fingerprint}
    locked = OutboundRequest.objects.select_for_update()
    made = locked.filter(organization=row.organization_id, **same).first()
    if made is None:
        raise _lost(row, result)
    made.organization = row.organization
    if made.attempts.filter(jti=tried.jti).exists():  # by a COMMIT that was not acknowledged
        telling.moved(made, row.state, now=now)
    else:
        _record_forgotten(made, result, now, tried, row.fence_at)
    row.__dict__.update(made.__dict__)


def _lost(row: OutboundRequest, result: Result) -> CybsError:
    if result.verdict.then == Then.RETRY:
        return QueueError(
            "The database has lost request {request} and does not take it again. It was not "
            "processed: make it anew.",
            request=row.pk,
        )
    return OutcomeUnknown(
        "The database has lost request {request}, whose outcome was {outcome!r}, and does not "
        "take it again. Look it up at the gateway.",
        request=row.pk,
        outcome=result.verdict.outcome,
        gateway_id=result.verdict.gateway_id,
    )


def _beats(row: OutboundRequest, number: int) -> bool:
    """True where the answer to try *number* still says how it stands."""
    current = row.attempt == number and row.state in TABLE[Step.ANSWER].sources
    return current and row.reason not in (UNDOING, TWICE)


def _keep(row: OutboundRequest, result: Result, number: int, now: datetime) -> None:
    """It changes the row no more: kept where nothing is, and told aloud where it is news."""
    if row.safety == Safety.SAFE or _is_no_news(row, result.verdict.gateway_id):
        return
    if result.reply is not None:
        stored = OutboundRequest.objects.filter(pk=row.pk)
        sealed = payloads.seal_reply(row, result.reply)
        stored.filter(sealed_reply=None).update(sealed_reply=sealed)
        # To be shredded with the others of its day.
        stored.filter(state__in=TERMINAL, due_at=None).update(due_at=now)
    if row.state == RequestState.IN_DOUBT and result.verdict.then != Then.END:
        return  # who clears it up reads it
    _tell_late(row, result, number, now)


def _is_no_news(row: OutboundRequest, gateway_id: str) -> bool:
    same = row.state == RequestState.ANSWERED and row.gateway_id == gateway_id
    # Two payouts without an id may be two.
    return same and (bool(gateway_id) or row.safety == Safety.REPEATABLE)


def _tell_late(row: OutboundRequest, result: Result, number: int, now: datetime) -> None:
    told = {"outcome": result.verdict.outcome, "gateway_id": result.verdict.gateway_id}
    telling.answered_late(row, now=now, attempt=number, http_status=result.status, **told)
