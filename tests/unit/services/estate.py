"""Organizations, keys and certificates as bare rows: whole estates in milliseconds.

Nothing is sealed, so nothing here can sign; scans read only the clear columns.
"""

from __future__ import annotations

import random
import uuid
from datetime import UTC, datetime, timedelta
from typing import Any

from django_cybs_jwt.models import (
    Coverage,
    Credential,
    GatewayCertificate,
    KeySlot,
    Organization,
    Purpose,
    State,
    Verdict,
)

NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)
HOST = "apitest.cybersource.com"
LIVE_HOST = "api.cybersource.com"
DAY = timedelta(days=1)
YEARS = 1095 * DAY


def organization(
    org_id: str, *, kind: str = "merchant", host: str = LIVE_HOST, **columns: Any
) -> Organization:
    return Organization.objects.create(
        org_id=org_id, kind=kind, host=host, live=host == LIVE_HOST, **columns
    )


def key(
    owner: Organization,
    *,
    days: float | None = 400,
    purpose: str = "signing",
    state: str = State.ACTIVE,
    slot: KeySlot | None = None,
    covers: str = "own",
    name: str = "",
    now: datetime = NOW,
    **columns: Any,
) -> Credential:
    """A key of *owner* that ends *days* from *now*, for a secret without a known end None."""
    place = (
        slot
        or KeySlot.objects.get_or_create(
            organization=owner, purpose=purpose, name=name, defaults={"coverage": covers}
        )[0]
    )
    ends = None if days is None else now + days * DAY
    key_id = uuid.uuid4().hex[:22]
    facts = {
        "kind": Credential.Kind.P12,
        "key_id": key_id,
        "live_key_id": None if state == State.DESTROYED else key_id,
        "fingerprint": key_id,
        "algorithm": "RS256",
        "not_before": None if ends is None else ends - YEARS,
        "not_after": ends,
        "expires_at": ends,
        "activated_at": now - YEARS if state == State.ACTIVE else None,
        "active_slot": place if state == State.ACTIVE else None,
    }
    return Credential.objects.create(
        slot=place, organization=owner, state=state, **{**facts, **columns}
    )


def successor(row: Credential, *, days: float | None = 800, **columns: Any) -> Credential:
    """A key in the same slot that the gateway has accepted."""
    accepted = {"state": State.VERIFIED, "verify_outcome": Verdict.ACCEPTED}
    return key(row.organization, days=days, slot=row.slot, **{**accepted, **columns})


def certificate(
    owner: Organization | None,
    *,
    days: float,
    begins: float = -365,
    host: str = LIVE_HOST,
    now: datetime = NOW,
    **columns: Any,
) -> GatewayCertificate:
    """A request-MLE certificate, of the file of a key of *owner*, or of the host."""
    if owner is not None and "credential" not in columns:
        carried_by = owner.credentials.filter(state=State.ACTIVE).first()
        columns["credential"] = carried_by or key(owner, days=None, state=State.RETIRED)
    if carrier := columns.get("credential"):
        columns["in_use"] = carrier.state in (State.ACTIVE, State.RETIRING, State.RETIRED)
    return GatewayCertificate.objects.create(
        organization=owner,
        host=owner.host if owner else host,
        key_id=uuid.uuid4().hex[:22],
        certificate="",
        common_name="CyberSource_SJC_US",
        fingerprint=uuid.uuid4().hex,
        not_before=now + begins * DAY,
        not_after=now + days * DAY,
        source="tests",
        **columns,
    )


def random_estate(seed: int) -> list[Organization]:
    """A few portfolios, accounts and merchants with keys in any state; the merchants are returned.

    Every rule of resolution has its case somewhere in a hundred of them.
    """
    draw = random.Random(seed)
    tops = [organization(f"portfolio{n}", kind="portfolio") for n in range(2)]
    middles = [
        organization(f"account{n}", kind="account", parent=draw.choice([None, *tops]))
        for n in range(3)
    ]
    parents = [None, *tops, *middles, *middles]
    merchants = [
        organization(
            f"mid{n}",
            parent=draw.choice(parents),
            active=draw.random() > 0.1,
            response_mle=draw.choice(["", "", "", "never"]),
        )
        for n in range(8)
    ]
    for owner in [*tops, *middles]:
        _random_keys(draw, owner, ["own", "all", "all", "selected"], merchants)
    for owner in merchants:
        if draw.random() < 0.5:
            _random_keys(draw, owner, ["own"], merchants)
    for _ in range(draw.randrange(3)):
        preferred = draw.random() < 0.3
        certificate(None, days=draw.randrange(-200, 400), preferred=preferred)
    if draw.random() < 0.3:
        Organization.objects.filter(pk=draw.choice([*tops, *middles]).pk).update(active=False)
    return merchants


def _random_keys(
    draw: random.Random, owner: Organization, coverages: list[str], merchants: list[Organization]
) -> None:
    for purpose in Purpose.values:
        for name in ["", "second"][: draw.choice([0, 1, 1, 2])]:
            slot = KeySlot.objects.create(
                organization=owner, purpose=purpose, name=name, coverage=draw.choice(coverages)
            )
            if slot.coverage == Coverage.SELECTED:
                slot.merchants.set(draw.sample(merchants, 3))
            _random_versions(draw, slot)
    for _ in range(draw.randrange(3)):
        certificate(
            owner,
            days=draw.randrange(-200, 400),
            begins=draw.randrange(-400, -250),
            in_use=draw.random() < 0.8,
        )


def _random_versions(draw: random.Random, slot: KeySlot) -> None:
    states = draw.sample(list(State), draw.choice([1, 2, 3]))
    for state in states:
        days = draw.choice([None, -40, -1, 5, 30, 500, 900])
        key(
            slot.organization,
            slot=slot,
            state=state,
            days=days,
            activated_at=None
            if state in (State.STAGED, State.VERIFIED)
            else NOW - draw.uniform(0.1, 500) * DAY,
            retiring_at=NOW - draw.choice([0.1, 3]) * DAY if state == State.RETIRING else None,
            overlap_until=NOW + draw.choice([-1, 1]) * DAY if draw.random() < 0.5 else None,
            activate_at=_plan(draw, state, days),
            verify_outcome=draw.choice(["", "accepted", "refused"]),
            **_stamps(draw, state),
        )


def _stamps(draw: random.Random, state: State) -> dict[str, datetime]:
    if state == State.DESTROYED:
        return random_end(draw)
    return {"retired_at": NOW} if _was_retired(draw, state) else {}


def _plan(draw: random.Random, state: State, days: float | None) -> datetime | None:
    """A time to come into force, if any; none is planned behind the end of a key."""
    planned = draw.choice([-3, 2, 50]) + draw.random()
    in_time = days is None or planned < days
    waits = state in (State.STAGED, State.VERIFIED, State.RETIRING)
    return NOW + planned * DAY if waits and in_time and draw.random() < 0.4 else None


def _was_retired(draw: random.Random, state: State) -> bool:
    withdrawn = state in (State.SUSPENDED, State.COMPROMISED)
    return state == State.RETIRED or (withdrawn and draw.random() < 0.4)


def random_end(draw: random.Random, *, now: datetime = NOW) -> dict[str, datetime]:
    """The stamps of a key on its way to DESTROYED: some of them let the next level sign."""
    stamps = draw.sample(["suspended_at", "compromised_at", "retired_at"], draw.choice([0, 1, 2]))
    return {stamp: now - draw.uniform(0, 1) * DAY for stamp in stamps}


def many_merchants(count: int, *, days: float, host: str = LIVE_HOST, now: datetime = NOW) -> None:
    """*count* merchants, each with a signing key of its own that ends in *days*."""
    owners = [
        Organization(org_id=f"mid{n:06}", kind="merchant", host=host, live=host == LIVE_HOST)
        for n in range(count)
    ]
    slots = [KeySlot(organization=owner, purpose=Purpose.SIGNING) for owner in owners]
    ends = now + days * DAY
    keys = [
        Credential(
            slot=slot,
            active_slot=slot,
            organization=slot.organization,
            kind=Credential.Kind.P12,
            key_id=f"{n:022}",
            live_key_id=f"{n:022}",
            algorithm="RS256",
            state=State.ACTIVE,
            fingerprint=f"{n:064}",
            not_before=ends - YEARS,
            expires_at=ends,
            activated_at=now - YEARS,
        )
        for n, slot in enumerate(slots)
    ]
    Organization.objects.bulk_create(owners, batch_size=1000)
    KeySlot.objects.bulk_create(slots, batch_size=1000)
    Credential.objects.bulk_create(keys, batch_size=500)
