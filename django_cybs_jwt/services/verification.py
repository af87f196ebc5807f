"""Prove that a key works: offline first, then one harmless signed call to the gateway."""

from __future__ import annotations

import logging
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from functools import partial
from typing import Final

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric.padding import MGF1, OAEP, PKCS1v15
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey, RSAPublicKey
from django.db import transaction
from django.db.models import Count, Q, QuerySet
from django.utils import timezone

from django_cybs_jwt import conf
from django_cybs_jwt.client import Client, Reply
from django_cybs_jwt.exceptions import (
    ConfigurationError,
    CybsError,
    InvalidTransition,
    KeyBlocked,
    KeyUnavailable,
    MLEDecryptError,
    NoKey,
    SendError,
)
from django_cybs_jwt.models import Credential, Organization, Purpose, State, Verdict
from django_cybs_jwt.protocol import MerchantKeys
from django_cybs_jwt.services import (
    audit,
    clocks,
    doorbell,
    keys,
    lifecycle,
    opened_keys,
    organizations,
    plans,
    proven,
    rotation,
    trial_keys,
)
from django_cybs_jwt.services.clocks import Clock
from django_cybs_jwt.services.lifecycle import Action
from django_cybs_jwt.texts import Text

logger = logging.getLogger(__name__)

PROBE: Final = "/tss/v2/transactions/1"
"""A transaction that never is: 404 proves the credentials, 401 refuses them."""

LEASE: Final = timedelta(minutes=5)
"""Who verifies marked rows holds each that long; of one who died the next takes it after that."""

LONGEST_RUN: Final = timedelta(minutes=1)
"""A gateway that is slow must not keep the next tick, and what it does on time, waiting."""

TRIED: Final = frozenset({State.STAGED, State.VERIFIED, State.ACTIVE, State.RETIRING})
_ACCEPTED: Final = frozenset({200, 404})


@dataclass(frozen=True, slots=True, kw_only=True)
class Verification:
    """What came out, why, and the gateway's correlation id; *explanation* for a 401.

    *blames_key* is true of a refusal that no other key, merchant or fault of ours explains.
    """

    verdict: Verdict
    detail: Text
    reference: str = ""
    explanation: str = ""
    blames_key: bool = False


def verify(
    credential: Credential, *, actor: str, now: datetime, acting_as: str | None = None
) -> Verification:
    """Try a key and store the outcome on its row; a STAGED key that is accepted is VERIFIED.

    *acting_as* is the merchant to speak for; for a meta key by default the first that lives on it.
    A Response MLE key is tried with its owner's signing key. Sends one GET, changes nothing there.
    A refusal that only a signing key itself can be the reason of takes a planned switch to it
    back, unless that took force: the key before it goes on.
    """
    clock = clocks.since(now)
    with audit.denials_of(credential, Action.VERIFY, actor=actor, now=now), transaction.atomic():
        rotation.settle(credential.slot, now=now)
        # Of many that are marked the last one's turn comes a minute after its row was read.
        credential.refresh_from_db(fields=["state"])
        _check_allowed(credential, acting_as)
    outcome = _try(credential, acting_as, now)
    return _store(credential, outcome, actor=actor, now=now, ended=clock())


def request(credentials: QuerySet[Credential], *, actor: str, now: datetime) -> int:
    """Mark rows to be verified in the background, in the name of *actor*, and ring; how many."""
    chosen = credentials.filter(state__in=TRIED).order_by()
    marked = chosen.update(verify_requested_at=now, verify_requested_by=actor)
    if marked:
        doorbell.ring_to_verify_after_commit()
    return marked


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """Of some keys: how many wait, and what came of those that were tried since a moment."""

    waiting: int
    accepted: int
    refused: int
    inconclusive: int

    @property
    def total(self) -> int:
        """All of them."""
        return self.waiting + self.tried

    @property
    def tried(self) -> int:
        """How many have an outcome."""
        return self.accepted + self.refused + self.inconclusive


def progress(credentials: QuerySet[Credential], *, since: datetime) -> Progress:
    """How far marked rows are, counted from the rows themselves."""
    tried = Q(verify_requested_at=None, verify_checked_at__gte=since)
    counts = {
        verdict.value: Count("pk", filter=tried & Q(verify_outcome=verdict)) for verdict in Verdict
    }
    waiting = Count("pk", filter=Q(verify_requested_at__isnull=False))
    return Progress(**credentials.order_by().aggregate(waiting=waiting, **counts))


def newest(organization: Organization, *, acting_as: str | None = None) -> list[Credential]:
    """The keys of *organization* that are tried when none is named: the newest of each purpose.

    Of those that cover the merchant *acting_as*, where any does.
    """
    rows = keys.listing().filter(organization=organization, state__in=TRIED)
    covering = [row for row in rows if acting_as and trial_keys.covers(row, acting_as)]
    found: dict[str, Credential] = {}
    for row in covering or rows:
        found.setdefault(row.slot.purpose, row)
    return [found[purpose] for purpose in Purpose.values if purpose in found]


def verify_requested(
    *, now: datetime, actor: str = "schedule", most: int = 100, clock: Clock | None = None
) -> int:
    """Verify rows that were marked, the oldest mark first; returns how many were tried.

    Two may run at once: each row is one's for a LEASE, which begins when its turn comes, by
    *clock*. *actor* is named where no one is known. After a minute the rest waits for the next.
    """
    clock = clock or clocks.since(now)
    last = clock() + LONGEST_RUN
    marked = Credential.objects.select_related("organization", "slot").filter(
        verify_requested_at__lte=clock()
    )
    rows = list(marked.order_by("verify_requested_at")[:most])
    return sum(_verify_marked(row, actor=actor, now=clock()) for row in rows if clock() < last)


def _verify_marked(row: Credential, *, actor: str, now: datetime) -> int:
    if not _claim(row, now):
        return 0
    try:
        verify(row, actor=row.verify_requested_by or actor, now=now)
    except Exception as error:  # one row must not keep the others from their turn
        logger.exception("Verification of %s failed", row.pk)
        why = error.english if isinstance(error, CybsError) else type(error).__name__
        tried = Credential.objects.filter(pk=row.pk)
        tried.update(verify_requested_at=None, verify_checked_at=now)
        tried.exclude(verify_outcome=Verdict.REFUSED).update(
            verify_outcome=Verdict.INCONCLUSIVE,
            verify_detail=f"Not tried: {why}"[:300],
            verify_report="",
        )
        return 0
    return 1


def _claim(row: Credential, now: datetime) -> bool:
    """Compare and set: of several at once, one takes it."""
    marked = Credential.objects.filter(pk=row.pk, verify_requested_at=row.verify_requested_at)
    return bool(marked.update(verify_requested_at=now + LEASE))


def _check_allowed(credential: Credential, acting_as: str | None) -> None:
    """A key out of use signs nothing, not even to be tried; nor does a disabled owner's."""
    if credential.state not in TRIED:
        raise InvalidTransition(
            "{key_id} is {state}; it signs nothing.",
            key_id=credential.key_id,
            state=credential.state,
        )
    organizations.check_active(credential.organization)
    if acting_as is not None:
        trial_keys.check_speaks_for(credential, acting_as)


def _try(credential: Credential, acting_as: str | None, now: datetime) -> Verification:
    try:
        _prove_offline(credential)
    except (KeyUnavailable, KeyBlocked, ConfigurationError) as error:
        return _not_asked(error)  # the ring's fault: the key may be healthy
    except CybsError as error:
        blamed = credential.slot.purpose == Purpose.SIGNING
        return Verification(verdict=Verdict.REFUSED, detail=error.text, blames_key=blamed)
    try:
        trial = trial_keys.of(credential, acting_as, now=now)
    except CybsError as error:
        return _not_asked(error)
    try:
        return _ask(credential, trial)
    except MLEDecryptError as error:
        return Verification(verdict=Verdict.REFUSED, detail=error.text)
    except SendError as error:
        return Verification(verdict=Verdict.INCONCLUSIVE, detail=error.text)


def _not_asked(error: CybsError) -> Verification:
    # The full message of a search names every place that was looked at; not all see them.
    told = NoKey() if "looked" in error.facts else error
    return Verification(
        verdict=Verdict.INCONCLUSIVE,
        detail=Text("Nothing was asked. {cause}", cause=told.text),
    )


def _prove_offline(credential: Credential) -> None:
    material = opened_keys.material(credential)
    if isinstance(material, bytes):
        return  # opening it has already held it against its fingerprint
    public = _public_key(credential, material)
    try:
        if credential.slot.purpose == Purpose.SIGNING:
            signature = material.sign(b"proof", PKCS1v15(), hashes.SHA256())
            public.verify(signature, b"proof", PKCS1v15(), hashes.SHA256())
        else:
            oaep = OAEP(MGF1(hashes.SHA256()), hashes.SHA256(), None)
            material.decrypt(public.encrypt(b"proof", oaep), oaep)
    except (InvalidSignature, ValueError):
        raise CybsError("The private key does not belong to its certificate.") from None


def _public_key(credential: Credential, material: RSAPrivateKey) -> RSAPublicKey:
    if not credential.certificate:
        return material.public_key()
    certificate = x509.load_pem_x509_certificate(credential.certificate.encode())
    public = certificate.public_key()
    if not isinstance(public, RSAPublicKey):
        raise CybsError("The certificate carries no RSA key.")
    return public


def _ask(credential: Credential, trial: MerchantKeys) -> Verification:
    with Client(lambda: trial, conf.client_config()) as http:
        reply = Reply.of(http.get(PROBE), received_at=timezone.now())
    report = partial(Verification, reference=(reply.correlation_id or "")[:64])
    if reply.status_code == 401:
        explanation = reply.explain()
        alone = trial.merchant == credential.organization.org_id and not explanation.suspects
        return report(
            verdict=Verdict.REFUSED,
            detail=Text("The gateway refused the token (401)."),
            explanation=explanation.text,
            blames_key=alone and credential.slot.purpose == Purpose.SIGNING,
        )
    if reply.status_code not in _ACCEPTED:
        return report(
            verdict=Verdict.INCONCLUSIVE,
            detail=Text("The gateway answered {status}.", status=reply.status_code),
        )
    if credential.slot.purpose == Purpose.RESPONSE_MLE and not reply.encrypted:
        return report(
            verdict=Verdict.INCONCLUSIVE,
            detail=Text("The token is accepted, the reply came in clear."),
        )
    return report(verdict=Verdict.ACCEPTED, detail=Text("The gateway accepted it."))


def _store(
    credential: Credential, outcome: Verification, *, actor: str, now: datetime, ended: datetime
) -> Verification:
    with transaction.atomic():
        # The gateway may have taken its time: a switch that is in force by now is no plan.
        rotation.settle(credential.slot, now=ended)
        current = lifecycle.locked(credential.pk)
        outcome = _without_plan(outcome, current, actor=actor, now=now)
        current.verify_requested_at = None
        current.verify_requested_by = ""
        current.verify_checked_at = now
        _keep(outcome, current, now)
        if outcome.verdict == Verdict.ACCEPTED and current.state == State.STAGED:
            lifecycle.move(
                current, Action.VERIFY, actor=actor, now=now, reason=outcome.detail.english
            )
            return outcome
        # Not a change that signing or an approval must see: the version does not count up.
        current.save()
        entry = audit.Entry(
            action=Action.VERIFY,
            actor=actor,
            organization=str(current.organization),
            credential=current,
            from_state=current.state,
            to_state=current.state,
            reason=f"{outcome.verdict}: {outcome.detail.english}",
        )
        audit.record(entry, now=now)
    return outcome


def _without_plan(
    outcome: Verification, row: Credential, *, actor: str, now: datetime
) -> Verification:
    """Take the row's plan back on a refusal, or let it stand, and say so.

    It stands where it was made in spite of that, and where the key need not be to blame.
    """
    at = row.activate_at
    if outcome.verdict != Verdict.REFUSED or at is None:
        return outcome
    if proven.takes_force(row) or not outcome.blames_key:
        stands = Text(
            "{cause} The switch planned for {at:%Y-%m-%d %H:%M UTC} stands; take it back if this "
            "key is to blame.",
            cause=outcome.detail,
            at=at,
        )
        return replace(outcome, detail=stands)
    logger.warning("The switch to %s is taken back: %s", row.key_id, outcome.detail.english)
    plans.take_back(row, actor=actor, now=now, reason=f"refused: {outcome.detail.english}")
    detail = Text(
        "{cause} The switch planned for {at:%Y-%m-%d %H:%M UTC} is taken back.",
        cause=outcome.detail,
        at=at,
    )
    return replace(outcome, detail=detail)


def _keep(outcome: Verification, row: Credential, now: datetime) -> None:
    """On the row; what says nothing takes no refusal back."""
    if (outcome.verdict, row.verify_outcome) == (Verdict.INCONCLUSIVE, Verdict.REFUSED):
        return
    row.verify_outcome = outcome.verdict
    row.verify_detail = outcome.detail.english[:300]
    row.verify_reference = outcome.reference
    row.verify_report = outcome.explanation
    if outcome.verdict == Verdict.ACCEPTED and row.verified_at is None:
        row.verified_at = now  # a key that was forced into use may be proved there
