"""An estate of which somebody sees a part, tied to the rest in every way that rows can be.

His account stands under a portfolio that he does not see, whose meta key signs for one of his
merchants; his own meta key serves a merchant that he does not see.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from typing import Any

from django.utils import timezone

from django_cybs_jwt import cybs
from django_cybs_jwt.models import (
    AlertRecipient,
    Approval,
    Credential,
    ExpiryAlert,
    GatewayCertificate,
    KeyEvent,
    KeySlot,
    KeyUse,
    Organization,
    OutboundRequest,
    State,
)
from django_cybs_jwt.services import alerts, approvals, scope, signing
from django_cybs_jwt.services.alerts import recipients
from django_cybs_jwt.services.queue import database_clock
from django_cybs_jwt.testing.simulation import Simulation
from tests.unit import planted
from tests.unit.services import enrolment

HIDDEN = "otherpart"
"""In every name that he must not meet."""
DAY = timedelta(days=1)
STATES = {
    "staged": {"state": State.STAGED},
    "verified": {"state": State.VERIFIED},
    "planned": {"state": State.VERIFIED},
    "suspended": {"state": State.SUSPENDED},
    "retired": {"state": State.RETIRED},
    "compromised": {"state": State.COMPROMISED},
}


def plant(simulation: Simulation) -> Organization:
    """The estate; returns the top of his part."""
    top = enrolment.organization(f"{HIDDEN}-top", kind="portfolio")
    stand = enrolment.organization("stand", kind="account", parent=top.org_id)
    for name in ("shop", "booth"):
        enrolment.organization(name, parent="stand")
    orphan = enrolment.organization(f"{HIDDEN}-orphan")
    enrolment.organization(f"{HIDDEN}-shop", parent=top.org_id)
    _keys(top, covers="all")
    _keys(stand, covers="selected")
    _keys(orphan)
    for slot in stand.slots.exclude(coverage="own"):
        slot.merchants.set([orphan, Organization.objects.get(org_id="shop")])
    carried = simulation.certificate.certificate
    for owner in (stand, orphan):
        enrolment.rsa_key(owner, slot="p12", purpose="signing", gateway=carried)
    signing.forget()
    for owner in (top, stand, orphan):
        _duties(owner)
    _states(stand)
    alerts.raise_due(timezone.now())
    return stand


def _keys(owner: Organization, **options: Any) -> None:
    """A key that signs, one for replies, and an open rotation in a slot of its own."""
    now = timezone.now()
    enrolment.shared_secret(owner, expires_at=now + 5 * DAY, now=now - 300 * DAY, **options)
    enrolment.rsa_key(owner, **options)
    old, new = (enrolment.shared_secret(owner, slot="r", activate=n == 0) for n in range(2))
    enrolment.put(old, State.RETIRING, retiring_at=now, overlap_until=now + DAY)
    enrolment.put(new, State.ACTIVE, activated_at=now)
    hour = now.replace(minute=0, second=0, microsecond=0)
    for row in (old, new):
        KeyUse.objects.create(credential=row, hour=hour, signed=3)


def _states(owner: Organization) -> None:
    """A key in each state that some screen starts from."""
    for name, columns in STATES.items():
        row = enrolment.shared_secret(owner, slot=name, activate=False)
        enrolment.put(row, **columns)
        if name == "suspended":
            enrolment.change(row, suspended_from=State.ACTIVE)
        if name == "planned":
            enrolment.change(row, activate_at=timezone.now() + DAY)
    Credential.objects.filter(organization=owner).update(uploaded_by="limited")


def _duties(owner: Organization) -> None:
    """Who is told, what waits for a second person, and what waits to be sent."""
    now = timezone.now()
    recipients.add(
        "mail", f"{owner}".replace("@", "-") + "@x.example", actor="m", organization=owner
    )
    spare = enrolment.shared_secret(owner, slot="spare", activate=False)
    foreign = f"for {HIDDEN}-shop@{owner.host}, which stands beside {owner}"
    approvals.request("destroy", spare, actor="mara", now=now, reason=foreign)
    signs = owner.slots.get(purpose="signing", name="").credentials.get()
    approvals.request("cover", signs, actor="mara", now=now, detail=foreign, reason=foreign)
    for state in ("PARKED", "IN_DOUBT"):
        key = f"{owner.org_id}-{state}"
        row = cybs.enqueue(
            str(owner), "POST", "/pts/v2/payments", json=planted.payment(), idempotency_key=key
        )
        OutboundRequest.objects.filter(pk=row.pk).update(
            state=state, maybe_sent=state == "IN_DOUBT", due_at=database_clock.now()
        )


def needles(seen: scope.Scope) -> set[str]:
    """What names a row that *seen* does not see."""
    return {HIDDEN, *(str(value) for value in _hidden(seen) if value)}


def _hidden(seen: scope.Scope) -> Iterator[Any]:
    columns: dict[Any, tuple[str, ...]] = {
        Organization: ("pk", "org_id"),
        KeySlot: ("pk",),
        Credential: ("pk", "key_id", "fingerprint"),
        GatewayCertificate: ("pk",),
        KeyEvent: ("pk",),
        ExpiryAlert: ("pk",),
        AlertRecipient: ("pk", "address"),
        Approval: ("pk",),
        OutboundRequest: ("pk", "idempotency_key"),
    }
    for model, names in columns.items():
        visible = seen.visible(model.objects.all()).values("pk")
        for values in model.objects.exclude(pk__in=visible).values_list(*names):
            yield from values
