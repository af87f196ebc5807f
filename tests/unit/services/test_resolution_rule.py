"""The rule of resolution over all combinations of rows: it is pure, so rows are made in memory."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from django_cybs_jwt.exceptions import KeyNotUsable, KeyResolutionError, NoKey
from django_cybs_jwt.models import Coverage, Credential, KeySlot, Organization, Purpose, State
from django_cybs_jwt.services import resolution
from tests.unit.services.enrolment import HOST
from tests.unit.services.test_resolution import STOPS

MERCHANT = Organization(org_id="acme", kind="merchant", host=HOST)
OWNER = Organization(org_id="owner", kind="portfolio", host=HOST)
MERCHANT.parent = OWNER
NOON = datetime(2026, 11, 22, 12, tzinfo=UTC)
LEVELS = ("own", "selected", "ancestor")


def row(level: str, state: State, activated: int | None, ends: int | None) -> Credential:
    owner = MERCHANT if level == "own" else OWNER
    covers = {"own": Coverage.OWN, "selected": Coverage.SELECTED, "ancestor": Coverage.ALL}[level]
    slot = KeySlot(organization=owner, purpose=Purpose.SIGNING, coverage=covers)
    made = Credential(organization=owner, slot=slot, key_id="k", state=state)
    made.activated_at = None if activated is None else NOON - timedelta(hours=activated)
    made.expires_at = None if ends is None else NOON + timedelta(hours=ends)
    made.selects = level == "selected"  # type: ignore[attr-defined]
    return made


rows = st.builds(
    row,
    st.sampled_from(LEVELS),
    st.sampled_from([state for state in State if state != State.DESTROYED]),
    st.one_of(st.none(), st.integers(0, 99)),
    st.one_of(st.none(), st.integers(-3, 3)),
)


def level_of(credential: Credential) -> int:
    if credential.organization == MERCHANT:
        return 0
    return 1 if credential.selects else 2  # type: ignore[attr-defined]


@given(st.lists(rows, max_size=6))
def test_what_signs_is_active_valid_and_nothing_nearer_was_in_use(found: list[Credential]) -> None:
    try:
        chosen = resolution.signing_key(MERCHANT, found, now=NOON)
    except KeyResolutionError:
        return
    assert chosen.state == State.ACTIVE
    assert chosen.expires_at is None or chosen.expires_at > NOON
    nearer = [each for each in found if level_of(each) < level_of(chosen)]
    assert all(each.state != State.ACTIVE for each in nearer)
    assert not any(each.state in STOPS and each.activated_at for each in nearer)


@given(st.lists(rows, max_size=6))
def test_an_active_key_is_used_or_named_but_never_overlooked(found: list[Credential]) -> None:
    active = any(each.state == State.ACTIVE for each in found)
    try:
        resolution.signing_key(MERCHANT, found, now=NOON)
    except NoKey:
        assert not active
    except KeyNotUsable:
        pass
