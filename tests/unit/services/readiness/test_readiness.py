"""Which merchants are ready: the report agrees with what a send would do, and names the rest."""

from __future__ import annotations

import contextlib
import itertools
import random
import uuid
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.db import connection, transaction
from django.test.utils import CaptureQueriesContext
from hypothesis import given, settings
from hypothesis import strategies as st

from django_cybs_jwt.exceptions import KeyResolutionError, OrganizationNotFound
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
from django_cybs_jwt.services import (
    coverage,
    gateway_certificates,
    organizations,
    readiness,
    resolution,
    rotation,
)
from django_cybs_jwt.services.readiness import Readiness, candidates
from django_cybs_jwt.testing import material
from tests.unit.services import enrolment
from tests.unit.services.enrolment import HOST, OTHER_HOST
from tests.unit.services.estate import random_end

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("cybs_ring")]

DAY = timedelta(days=1)
# Certificates made by the tests begin a day before the real now, keys are imported at NOON - DAY.
NOON = datetime.now(UTC).replace(hour=12, minute=0, second=0, microsecond=0) + DAY


def report(**options: Any) -> dict[str, Readiness]:
    found = list(readiness.report(**{"now": NOON, **options}))
    assert len({(one.organization, one.host) for one in found}) == len(found)
    return {one.organization: one for one in found}


def signing_key(owner: Organization, *, days: int | None = None, **options: Any) -> Credential:
    ends = NOON + days * DAY if days is not None else None
    row = enrolment.shared_secret(owner, expires_at=ends, now=NOON - DAY, **options)
    enrolment.change(row, verify_outcome=Verdict.ACCEPTED)
    return row


def response_key(owner: Organization, *, days: int = 900, **options: Any) -> Credential:
    row = enrolment.rsa_key(owner, expires_at=NOON + days * DAY, now=NOON - DAY, **options)
    enrolment.change(row, verify_outcome=Verdict.ACCEPTED)
    return row


def certificate(
    owner: Organization | None, *, begins: int = -9, ends: int = 800, host: str = HOST
) -> GatewayCertificate:
    return GatewayCertificate.objects.create(
        organization=owner,
        host=host,
        key_id="1",
        common_name="CyberSource_SJC_US",
        fingerprint=uuid.uuid4().hex,
        not_before=NOON + begins * DAY,
        not_after=NOON + ends * DAY,
    )


def ready_merchant(org_id: str = "acme", **options: Any) -> Organization:
    merchant = enrolment.organization(org_id)
    signing_key(merchant, **options)
    response_key(merchant)
    certificate(merchant)
    return merchant


# What is said of one merchant


def test_a_merchant_with_everything_is_ready() -> None:
    merchant = ready_merchant(days=400)
    key = Credential.objects.get(organization=merchant, slot__purpose=Purpose.SIGNING)
    assert report() == {
        "acme": Readiness(
            organization="acme",
            host=HOST,
            name="",
            ready=True,
            jwt_v2=True,
            request_mle=True,
            response_mle=True,
            verified=True,
            days_left=400,
            kind="shared_secret",
            algorithm="HS256",
            key_id=key.key_id,
            owner="acme",
            meta=False,
            missing=(),
        )
    }


def test_a_merchant_without_anything_lacks_a_signing_key_first_of_all() -> None:
    enrolment.organization()
    found = report()["acme"]
    assert not found.ready
    assert (found.jwt_v2, found.request_mle, found.response_mle, found.verified) == (False,) * 4
    assert (found.days_left, found.owner, found.meta) == (None, "", False)
    assert found.missing == ("No active signing key, own or meta.",)


def test_under_a_meta_key_all_comes_from_the_owner() -> None:
    portfolio, _, acme = enrolment.family()
    signing_key(portfolio, covers="all")
    response_key(portfolio)
    certificate(portfolio)
    response_key(acme)
    certificate(acme, ends=5)
    found = report()["acme"]
    assert (found.ready, found.owner, found.meta) == (True, "portfolio", True)
    assert found.days_left == 800


def test_a_merchants_own_key_goes_before_a_ready_meta_key() -> None:
    portfolio, _, acme = enrolment.family()
    signing_key(portfolio, covers="all")
    response_key(portfolio)
    certificate(portfolio)
    signing_key(acme)
    found = report()["acme"]
    assert (found.owner, found.meta, found.ready) == ("acme", False, False)
    assert found.missing == (
        "No request-MLE certificate of acme or its host.",
        "No active Response MLE key of acme.",
    )


@pytest.mark.parametrize(
    ("outcome", "word"),
    [
        ("", "is not verified"),
        (Verdict.REFUSED, "was refused by the gateway at its verification"),
        (Verdict.INCONCLUSIVE, "was verified without a clear answer"),
    ],
)
@pytest.mark.parametrize(
    ("purpose", "named"), [(Purpose.SIGNING, "Signing"), (Purpose.RESPONSE_MLE, "Response MLE")]
)
def test_both_keys_must_be_accepted_by_the_gateway(
    purpose: str, named: str, outcome: str, word: str
) -> None:
    merchant = ready_merchant()
    row = Credential.objects.get(organization=merchant, slot__purpose=purpose)
    enrolment.change(row, verify_outcome=outcome)
    found = report()["acme"]
    assert (found.jwt_v2, found.response_mle, found.verified, found.ready) == (
        True,
        True,
        False,
        False,
    )
    assert found.missing == (f"{named} key {row.key_id} {word}.",)


def test_a_staged_key_is_no_signing_key() -> None:
    signing_key(enrolment.organization(), activate=False)
    assert report()["acme"].missing == ("No active signing key, own or meta.",)


def test_a_suspended_key_is_named_with_its_cure() -> None:
    row = signing_key(enrolment.organization())
    enrolment.put(row, State.SUSPENDED)
    found = report()["acme"]
    assert not found.jwt_v2
    assert f"{row.key_id} is SUSPENDED. Resume it, activate another key there" in found.missing[0]


def test_a_destroyed_key_hides_none_that_stops_the_search() -> None:
    merchant = enrolment.organization()
    stopping, destroyed = signing_key(merchant), signing_key(merchant, activate=False)
    enrolment.put(stopping, State.RETIRING)
    gone = {"sealed_secret": None, "sealed_p12": None, "live_key_id": None}
    enrolment.put(destroyed, State.DESTROYED, activated_at=NOON, **gone)
    assert f"{stopping.key_id} is RETIRING" in report()["acme"].missing[0]


def test_a_response_key_that_ended_is_named_unless_no_encrypted_reply_is_wanted() -> None:
    """While it would be announced, no message is made at all."""
    merchant = ready_merchant()
    row = Credential.objects.get(organization=merchant, slot__purpose=Purpose.RESPONSE_MLE)
    enrolment.change(row, expires_at=NOON)
    found = report()["acme"]
    assert (found.jwt_v2, found.response_mle, found.ready) == (True, False, False)
    assert f"{row.key_id} ended on" in found.missing[0]
    Organization.objects.update(response_mle="never")
    assert report()["acme"].ready


@pytest.mark.parametrize("policy", ["organization", "settings"])
def test_who_asks_for_no_encrypted_reply_needs_no_response_key(settings: Any, policy: str) -> None:
    merchant = enrolment.organization()
    signing_key(merchant)
    certificate(merchant)
    assert not report()["acme"].ready
    if policy == "settings":
        settings.CYBS_JWT = {**settings.CYBS_JWT, "RESPONSE_MLE": "never"}
    else:
        Organization.objects.update(response_mle="never")
    found = report()["acme"]
    assert (found.ready, found.response_mle, found.verified) == (True, False, True)


def test_a_disabled_owners_key_makes_nobody_ready() -> None:
    portfolio, _, _ = enrolment.family()
    signing_key(portfolio, covers="all")
    organizations.disable("portfolio", actor="tests")
    found = report()["acme"]
    assert not found.jwt_v2
    assert found.missing == (f"portfolio@{HOST}, whose key signs, is disabled.",)


def test_of_two_keys_activated_at_one_moment_every_order_of_rows_gives_the_same() -> None:
    """As one manifest activates them; a database returns rows in any order."""
    merchant = enrolment.organization()
    for slot in ("a", "b", "c"):
        signing_key(merchant, slot=slot)
    rows = resolution.candidates(merchant)
    chosen = [
        resolution.signing_key(merchant, order, now=NOON) for order in itertools.permutations(rows)
    ]
    assert {row.key_id for row in chosen} == {report()["acme"].key_id}


# Request MLE and days left


def test_a_certificate_of_the_host_serves_who_has_none() -> None:
    merchant = enrolment.organization()
    signing_key(merchant)
    response_key(merchant)
    certificate(None)
    assert report()["acme"].ready


def test_a_certificate_of_another_host_or_owner_serves_nobody_else() -> None:
    merchant = enrolment.organization()
    signing_key(merchant)
    response_key(merchant)
    certificate(None, host=OTHER_HOST)
    certificate(enrolment.organization("other"))
    assert report()["acme"].missing == ("No request-MLE certificate of acme or its host.",)


@pytest.mark.parametrize(("begins", "ends"), [(-9, 0), (-9, -1), (1, 9)])
def test_a_certificate_outside_its_validity_is_named_with_its_dates(begins: int, ends: int) -> None:
    merchant = enrolment.organization()
    signing_key(merchant)
    response_key(merchant)
    row = certificate(merchant, begins=begins, ends=ends)
    found = report()["acme"]
    assert (found.request_mle, found.ready) == (False, False)
    validity = f"valid from {row.not_before:%Y-%m-%d} to {row.not_after:%Y-%m-%d} only"
    assert found.missing == (f"The request-MLE certificate is {validity}.",)


@pytest.mark.parametrize(
    ("signing", "response", "request_mle", "expected"),
    [(5, 6, 7, 5), (6, 5, 7, 5), (7, 6, 5, 5), (None, 900, 10, 10)],
)
def test_days_left_count_to_the_first_of_three_ends(
    signing: int | None, response: int, request_mle: int, expected: int
) -> None:
    merchant = enrolment.organization()
    signing_key(merchant, days=signing)
    response_key(merchant, days=response)
    certificate(merchant, ends=request_mle)
    assert report()["acme"].days_left == expected


def test_the_last_hours_are_zero_days() -> None:
    ready_merchant(days=1)
    assert report(now=NOON + timedelta(hours=1))["acme"].days_left == 0


def test_no_known_end_is_no_number() -> None:
    signing_key(enrolment.organization())
    assert report()["acme"].days_left is None


@pytest.mark.parametrize(("begins", "expected"), [(-9, 300), (9, 300), (11, 10)])
def test_another_certificate_takes_over_where_one_ends(begins: int, expected: int) -> None:
    ready_merchant(days=700)
    GatewayCertificate.objects.update(not_after=NOON + 10 * DAY)
    certificate(None, begins=begins, ends=300)
    assert report()["acme"].days_left == expected


def test_a_scheduled_successor_moves_the_end() -> None:
    merchant = ready_merchant(days=10)
    successor = signing_key(merchant, days=500, activate=False)
    assert report()["acme"].days_left == 10
    rotation.rotate(
        successor, actor="tests", now=NOON, at=NOON + 9 * DAY, force=True, reason="tests"
    )
    assert report()["acme"].days_left == 500


def test_a_successor_scheduled_after_the_end_comes_too_late() -> None:
    merchant = ready_merchant(days=10)
    successor = signing_key(merchant, days=500, activate=False)
    rotation.rotate(
        successor, actor="tests", now=NOON, at=NOON + 11 * DAY, force=True, reason="tests"
    )
    assert report()["acme"].days_left == 10


# Who is in the report


def test_only_merchants_that_are_not_disabled_are_in_it() -> None:
    enrolment.family()
    enrolment.organization("gone")
    organizations.disable("gone", actor="tests")
    assert set(report()) == {"acme"}


def test_one_host() -> None:
    enrolment.organization("here")
    enrolment.organization("there", host=OTHER_HOST)
    assert set(report(host=OTHER_HOST.upper())) == {"there"}


def test_one_portfolio_with_all_that_stands_under_it() -> None:
    enrolment.family()
    enrolment.organization("near", parent="portfolio")
    enrolment.organization("stranger")
    assert set(report(portfolio="portfolio")) == {"acme", "near"}
    assert set(report(portfolio="account")) == {"acme"}
    with pytest.raises(OrganizationNotFound):
        report(portfolio="nobody")


def test_one_id_on_two_hosts_is_two_merchants() -> None:
    for host in (HOST, OTHER_HOST):
        enrolment.organization(host=host)
    assert [one.host for one in readiness.report(now=NOON)] == [HOST, OTHER_HOST]


@pytest.mark.parametrize("at_once", [1, 2, 3, 100])
def test_portions_leave_nobody_out_and_name_nobody_twice(
    monkeypatch: pytest.MonkeyPatch, at_once: int
) -> None:
    monkeypatch.setattr(candidates, "AT_ONCE", at_once)
    names = [("a", HOST), ("b", HOST), ("b", OTHER_HOST), ("c", OTHER_HOST), ("d", HOST)]
    for org_id, host in names:
        enrolment.organization(org_id, host=host)
    found = [(one.organization, one.host) for one in readiness.report(now=NOON)]
    assert found == names


def test_queries_do_not_grow_with_the_merchants() -> None:
    portfolio = enrolment.organization("portfolio", kind="portfolio")
    signing_key(portfolio, covers="selected")

    def count(names: Iterable[str]) -> int:
        for name in names:
            merchant = enrolment.organization(name)
            coverage.add("portfolio", [name], actor="tests")
            response_key(merchant, key=material.rsa_key(name=f"readiness {name}"))
        with CaptureQueriesContext(
            connection,
        ) as queries:
            report()
        return len(queries)

    assert count("ab") == count("cde")


def test_nothing_sealed_is_read() -> None:
    ready_merchant()
    with CaptureQueriesContext(connection) as queries:
        assert report()["acme"].ready
    read = " ".join(query["sql"] for query in queries)
    assert "sealed" not in read
    assert '"certificate"' not in read


# The same as a send would find, over random hierarchies


class World:
    """Organizations, slots, keys and certificates drawn at random, as rows alone."""

    def __init__(self, draw: random.Random) -> None:
        self.draw = draw
        self.organizations: list[Organization] = []
        self.slots: list[KeySlot] = []
        self.keys: list[Credential] = []
        self.certificates: list[GatewayCertificate] = []
        self.add_organizations()
        for owner in self.organizations:
            some = [0, 0, 0, 1, 2] if owner.kind == "merchant" else [0, 1, 1, 2, 3]
            for _ in range(draw.choice(some)):
                self.add_slot(owner)
        for owner in [None, *self.organizations]:
            for _ in range(draw.choice([0, 0, 1, 2])):
                self.add_certificate(owner)
        Organization.objects.bulk_create(self.organizations)
        KeySlot.objects.bulk_create(self.slots)
        Credential.objects.bulk_create(self.keys)
        GatewayCertificate.objects.bulk_create(self.certificates)
        for slot in self.slots:
            if slot.coverage == Coverage.SELECTED or draw.random() < 0.1:
                slot.merchants.set([row for row in self.organizations if draw.random() < 0.3])

    def moment(self, *, least: int = -9, most: int = 9) -> datetime:
        return NOON + self.draw.randint(least, most) * DAY

    def add_organizations(self) -> None:
        def add(kind: str, number: int, parents: list[Organization | None]) -> None:
            row = Organization(
                org_id=f"{kind}{number}",
                kind=kind,
                host=HOST if self.draw.random() < 0.8 else OTHER_HOST,
                parent=self.draw.choice(parents),
                active=self.draw.random() < 0.9,
                response_mle=self.draw.choice(["", "", "ask", "required", "never"]),
            )
            self.organizations.append(row)

        for number in range(2):
            add("portfolio", number, [None])
        portfolios = list(self.organizations)
        for number in range(2):
            add("account", number, [None, *portfolios])
        above = list(self.organizations)
        for number in range(self.draw.randint(2, 6)):
            add("merchant", number, [None, *above])

    def add_slot(self, owner: Organization) -> None:
        covers = list(Coverage) if owner.kind != "merchant" else [Coverage.OWN]
        slot = KeySlot(
            organization=owner,
            purpose=self.draw.choice([Purpose.SIGNING, Purpose.SIGNING, Purpose.RESPONSE_MLE]),
            name=f"{len(self.slots)}",
            coverage=self.draw.choice(covers),
        )
        self.slots.append(slot)
        for _ in range(self.draw.choice([1, 1, 2, 3])):
            self.add_key(slot)

    def add_key(self, slot: KeySlot) -> None:
        state = self.draw.choice([State.ACTIVE, State.ACTIVE, *State])
        if any(row.slot is slot and row.state == State.ACTIVE for row in self.keys):
            others = [State.STAGED, State.RETIRING, State.RETIRED, State.DESTROYED]
            state = self.draw.choice(others)
        row = Credential(
            slot=slot,
            organization=slot.organization,
            kind="p12",
            key_id=f"k{len(self.keys)}",
            algorithm=self.draw.choice(["RS256", "PS256"]),
            state=state,
            active_slot=slot if state == State.ACTIVE else None,
            fingerprint=f"{len(self.keys)}",
            verify_outcome=self.draw.choice(["", *Verdict.values]),
        )
        if state not in {State.STAGED, State.VERIFIED} or self.draw.random() < 0.2:
            row.activated_at = self.moment(most=0)
        if state == State.DESTROYED:
            for stamp, moment in random_end(self.draw, now=NOON).items():
                setattr(row, stamp, moment)
        if state in {State.STAGED, State.VERIFIED} and self.draw.random() < 0.5:
            row.activate_at = self.moment()
        if self.draw.random() < 0.7:
            row.expires_at = self.moment()
            if row.activate_at is not None and row.expires_at <= row.activate_at:
                row.expires_at = row.activate_at + DAY
        self.keys.append(row)

    def add_certificate(self, owner: Organization | None) -> None:
        begin = self.moment(least=-20)
        self.certificates.append(
            GatewayCertificate(
                organization=owner,
                host=owner.host if owner else self.draw.choice([HOST, OTHER_HOST]),
                key_id="1",
                fingerprint=f"{len(self.certificates)}",
                not_before=begin,
                not_after=begin + self.draw.randint(1, 30) * DAY,
                preferred=self.draw.random() < 0.2,
            )
        )

    def events(self) -> list[datetime]:
        """Every moment at which anything can change."""
        moments = {
            moment
            for row in self.keys
            for moment in (row.activate_at, row.expires_at)
            if moment is not None
        }
        for row in self.certificates:
            moments |= {row.not_before, row.not_after}
        return sorted(moment for moment in moments if moment > NOON)


Parts = tuple[Credential | None, Credential | None, GatewayCertificate | None]


def asked_alone(name: str, now: datetime) -> Parts:
    """What one merchant's message would be made with: two keys and a valid certificate."""
    merchant = organizations.find(name)
    rows = resolution.candidates(merchant)
    try:
        signing = resolution.signing_key(merchant, rows, now=now)
    except KeyResolutionError:
        return None, None, None
    owner = signing.organization
    if not owner.active:
        return None, None, None
    response = None
    with contextlib.suppress(KeyResolutionError):
        if merchant.response_mle != "never":
            response = resolution.response_key(merchant, owner, rows, now=now)
    chosen = gateway_certificates.choose(gateway_certificates.candidates(owner), now=now)
    valid = chosen is not None and chosen.not_before <= now < chosen.not_after
    return signing, response, chosen if valid else None


def first_stop(name: str, events: Iterable[datetime]) -> datetime | None:
    """The first end of something that was used then, and that nothing replaces."""
    before = asked_alone(name, NOON)
    if before[0] is None:
        return None
    for moment in events:
        after = asked_alone(name, moment)
        pairs = zip(before, after, strict=True)
        if any(end_of(then) == moment and now is None for then, now in pairs):
            return moment
        before = after
    return None


def first_stops(names: Sequence[str], events: Sequence[datetime]) -> dict[str, datetime]:
    """Of each: as everything is planned, or earlier if only accepted keys take over."""
    planned = {name: first_stop(name, events) for name in names}
    doubtful = Credential.objects.filter(activate_at__gt=NOON).exclude(verify_outcome="accepted")
    doubtful.update(activate_at=None)
    found = [(name, stop) for name in names for stop in (planned[name], first_stop(name, events))]
    ordered = sorted((stop, name) for name, stop in found if stop is not None)
    return {name: stop for stop, name in reversed(ordered)}


def end_of(part: Credential | GatewayCertificate | None) -> datetime | None:
    return part.expires_at if isinstance(part, Credential) else part and part.not_after


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**32))
def test_the_report_says_of_each_merchant_what_resolution_says_of_it_alone(seed: int) -> None:
    with transaction.atomic():
        world = World(random.Random(seed))
        found = list(readiness.report(now=NOON))
        names = [f"{one.organization}@{one.host}" for one in found]
        active = [row for row in world.organizations if row.kind == "merchant" and row.active]
        assert sorted(names) == sorted(map(str, active))
        for one, name in zip(found, names, strict=True):
            signing, response, request_mle = asked_alone(name, NOON)
            assert one.jwt_v2 == (signing is not None)
            assert one.key_id == (signing.key_id if signing else "")
            assert one.owner == (signing.organization.org_id if signing else "")
            assert one.algorithm == (signing.algorithm if signing else "")
            assert one.response_mle == (response is not None)
            assert one.request_mle == (request_mle is not None)
            wanted = organizations.find(name).response_mle != "never"
            needed = (signing, response) if wanted else (signing,)
            accepted = [row and row.verify_outcome == "accepted" for row in needed]
            assert one.verified == all(accepted)
            assert one.ready == (all(accepted) and request_mle is not None)
            assert bool(one.missing) == (not one.ready)
        stops = first_stops(names, world.events())
        assert [one.days_left for one in found] == [
            (stops[name] - NOON).days if name in stops else None for name in names
        ]
        transaction.set_rollback(True)
