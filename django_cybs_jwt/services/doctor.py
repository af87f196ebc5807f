"""Look at everything that should hold, change nothing, and name what does not."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from django.core import checks
from django.db.models import Count, Exists, OuterRef, Q, QuerySet, Subquery

from django_cybs_jwt import conf
from django_cybs_jwt.exceptions import SealingError
from django_cybs_jwt.models import Credential, KeySlot, Purpose, State
from django_cybs_jwt.sealing import Context, KeyRing, Status, open_blob, seal
from django_cybs_jwt.services import alerts, overlaps
from django_cybs_jwt.services.alerts import hearing
from django_cybs_jwt.services.audit import chain
from django_cybs_jwt.services.sealed import proof as sealed_proof
from django_cybs_jwt.services.sealed.proof import Finding, Proof
from django_cybs_jwt.texts import Text

GRACE: Final = timedelta(hours=1)
"""How late a due activation or the end of an overlap may be before nothing seems to tick."""


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """The *findings*, and how many secrets opened under which key-encryption key."""

    findings: list[Finding]
    opened: dict[str, int]


def examine(*, now: datetime, sample: int | None = None) -> Diagnosis:
    """Everything; of the sealed secrets only those of *sample* rows where it is given.

    Raises KeyRingError without a ring.
    """
    ring = conf.keyring()
    proof = sealed_proof.prove(sample=sample)
    findings = [
        *proof.findings(),
        *_ring(ring, proof),
        *_settings(),
        *_slots(),
        *_unfinished(now),
        *_jobs(now),
        *_alerts(now),
        *_audit(),
    ]
    return Diagnosis(findings, dict(proof.opened))


def _ring(ring: KeyRing, proof: Proof) -> Iterator[Finding]:
    for kek_id in ring.ids():
        if ring.status(kek_id) is Status.BLOCKED:
            continue
        if not proof.opened[kek_id] and not _opens_a_probe(ring, kek_id):
            yield Finding("kek-wrong", kek_id, Text("What it seals it does not open."))
        elif proof.opened[kek_id] and kek_id != ring.primary_id:
            detail = Text(
                "{count} secrets are still sealed under it, not under {primary}. "
                "Run `manage.py cybs_rewrap`.",
                count=proof.opened[kek_id],
                primary=ring.primary_id,
            )
            yield Finding("rewrap", kek_id, detail)


def _opens_a_probe(ring: KeyRing, kek_id: str) -> bool:
    """Nothing is sealed under it, so something is: in memory, and opened with the ring in use."""
    nobody = uuid.UUID(int=0)
    context = Context(live=False, kind="probe", owner=nobody, row=nobody, field="probe")
    try:
        blob = seal(b"probe", context=context, ring=ring.promoted(kek_id))
        return open_blob(blob, context=context, ring=ring) == b"probe"
    except SealingError:
        return False


def _settings() -> Iterator[Finding]:
    messages = checks.run_checks(tags=["cybs_jwt", checks.Tags.database], databases=["default"])
    for message in messages:
        if (message.id or "").startswith("cybs_jwt."):
            detail = f"{message.msg} {message.hint or ''}".rstrip()
            yield Finding("check", str(message.id), detail)


def _slots() -> Iterator[Finding]:
    active = Credential.objects.filter(state=State.ACTIVE)
    crowded = active.values("slot").annotate(keys=Count("pk")).filter(keys__gt=1)
    for slot in KeySlot.objects.select_related("organization").filter(
        pk__in=crowded.values("slot")
    ):
        yield _of_slot("two-active", slot, Text("It has more than one ACTIVE key. Suspend one."))
    for slot in _stopped(active.filter(slot=OuterRef("pk"))):
        detail = Text(
            "It has no ACTIVE key and a withdrawn one, so nothing signs. Activate another."
        )
        yield _of_slot("stopped", slot, detail)
    lost = Credential.objects.filter(sealed_secret=None).exclude(state=State.DESTROYED)
    for row in lost.select_related("organization"):
        detail = Text(
            "{state} and its secret is gone. Restore the row, or import the key again.",
            state=row.state,
        )
        yield Finding("empty", f"Credential {row.pk}", detail, str(row.organization))


def _stopped(active: QuerySet[Credential]) -> QuerySet[KeySlot]:
    """Signing slots whose newest key was withdrawn: resolution stops there with an error."""
    activated = Credential.objects.filter(slot=OuterRef("pk")).exclude(activated_at=None)
    newest = Subquery(activated.order_by("-activated_at").values("state")[:1])
    slots = KeySlot.objects.select_related("organization").filter(
        purpose=Purpose.SIGNING, organization__active=True
    )
    withdrawn = [State.SUSPENDED, State.COMPROMISED, State.RETIRING]
    return slots.alias(newest=newest).filter(~Exists(active), newest__in=withdrawn)


def _of_slot(name: str, slot: KeySlot, detail: str) -> Finding:
    return Finding(
        name,
        f"KeySlot {slot.pk}",
        Text("{slot}: {detail}", slot=slot.named, detail=detail),
        str(slot.organization),
    )


def _unfinished(now: datetime) -> Iterator[Finding]:
    late = now - GRACE
    overdue = Q(activate_at__lt=late) | overlaps.is_over(late)
    for row in Credential.objects.filter(overdue).select_related("organization"):
        due = row.activate_at or row.overlap_until or row.retiring_at
        detail = Text(
            "{state}, and what was due at {due:%Y-%m-%d %H:%M} UTC is not done.",
            state=row.state,
            due=due,
        )
        yield Finding("unfinished", f"Credential {row.pk}", detail, str(row.organization))


def _jobs(now: datetime) -> Iterator[Finding]:
    if alerts.job_is_silent(now) and Credential.objects.filter(state=State.ACTIVE).exists():
        detail = Text(
            "It has not ended well for 26 hours: no alerts, no scheduled switches. "
            "Let beat or cron call `cybs_alerts run`."
        )
        yield Finding("job", alerts.JOB, detail)


def _alerts(now: datetime) -> Iterator[Finding]:
    for subject, detail in hearing.of(now).faults():
        yield Finding("alerts", subject, detail)


def _audit() -> Iterator[Finding]:
    found = chain.verify()
    for fault in found.faults:
        yield Finding("audit", "chain", fault)
    if found.more:
        yield Finding(
            "audit",
            "chain",
            Text("{more} more faults. Is it the ring of this database?", more=found.more),
        )
