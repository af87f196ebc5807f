"""A limited user sees his organizations with all under them, and nothing else of any model."""

from __future__ import annotations

import pytest
from django.apps import apps
from django.contrib.auth.models import User

from django_cybs_jwt.models import (
    AlertRecipient,
    Approval,
    Attempt,
    Credential,
    ExpiryAlert,
    GatewayCertificate,
    KeyEvent,
    KeySlot,
    KeyUse,
    Organization,
    OutboundRequest,
    StaffScope,
)
from django_cybs_jwt.services import audit, scope
from tests.unit.services import estate
from tests.unit.services.estate import NOW

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("cybs_ring", "fresh_chain")]

OWNED = [
    *(KeySlot, Credential, KeyUse, GatewayCertificate, ExpiryAlert, AlertRecipient, Approval),
    *(OutboundRequest, Attempt),
]


@pytest.fixture
def mara() -> User:
    return User.objects.create(username="mara")


def own_everything(owner: Organization) -> None:
    """One row of each kind for *owner*."""
    key = estate.key(owner)
    estate.certificate(owner, days=100, credential=key)
    KeyUse.objects.create(credential=key, hour=NOW)
    ExpiryAlert.objects.create(
        artefact="kek", subject=key.pk, organization=owner, ends=NOW, threshold=7, raised_at=NOW
    )
    AlertRecipient.objects.create(channel="mail", address="a@example.com", organization=owner)
    Approval.objects.create(
        credential=key,
        action="destroy",
        lock_version=0,
        requested_by="kim",
        requested_at=NOW,
        expires_at=NOW,
    )
    sent = OutboundRequest.objects.create(
        organization=owner, state="CANCELLED", idempotency_key="1", created_at=NOW
    )
    Attempt.objects.create(request=sent, number=1, jti=str(sent.pk), kind="lost", started_at=NOW)
    audit.record(audit.Entry(action="test", actor="tests", organization=str(owner)), now=NOW)


@pytest.fixture
def malls() -> list[Organization]:
    """Two portfolios, each with an account and a merchant under it; a row of each kind for all."""
    rows = []
    for name in ("east", "west"):
        top = estate.organization(name, kind="portfolio")
        account = estate.organization(f"{name}-account", kind="account", parent=top)
        merchant = estate.organization(f"{name}-mid", parent=account)
        rows += [top, account, merchant]
    for row in rows:
        own_everything(row)
    return rows


def owner_of(row: object) -> str:
    for path in ("organization", "credential", "request"):
        found = getattr(row, path, None)
        if isinstance(found, Credential | OutboundRequest):
            found = found.organization
        if found is not None:
            return found if isinstance(found, str) else str(found)
    return str(row)


@pytest.mark.parametrize("model", [*OWNED, KeyEvent, Organization], ids=lambda row: row.__name__)
def test_only_rows_under_the_portfolio_are_seen(
    mara: User, malls: list[Organization], model: type
) -> None:
    scope.limit(mara, [malls[0]], actor="tests")
    seen = {owner_of(row) for row in scope.visible(mara, model.objects.all())}
    assert seen == {str(row) for row in malls[:3]}


@pytest.mark.parametrize("model", [*OWNED, KeyEvent, Organization], ids=lambda row: row.__name__)
def test_whoever_is_not_limited_sees_everything(
    mara: User, malls: list[Organization], model: type
) -> None:
    assert scope.visible(mara, model.objects.all()).count() == model.objects.count() >= 6


def test_every_model_of_the_app_has_a_rule_or_is_refused(mara: User) -> None:
    without = {"AlertDelivery", "AuditHead", "Epoch", "JobRun"}
    models = {model.__name__: model for model in apps.get_app_config("cybs_jwt").get_models()}
    assert {name for name, model in models.items() if not scope.has_rule(model)} == without
    for name in without:
        with pytest.raises(LookupError):
            scope.visible(mara, models[name].objects.all())


def test_an_account_in_the_middle_shows_neither_its_portfolio_nor_its_neighbours(
    mara: User, malls: list[Organization]
) -> None:
    scope.limit(mara, [malls[1]], actor="tests")
    assert set(scope.visible(mara, Organization.objects.all())) == set(malls[1:3])
    limit = scope.of(mara)
    assert [limit.sees(row) for row in malls] == [False, True, True, False, False, False]


def test_a_limit_without_organizations_shows_nothing(mara: User, malls: list[Organization]) -> None:
    scope.limit(mara, [], actor="tests")
    for model in (*OWNED, KeyEvent, Organization):
        assert not scope.visible(mara, model.objects.all()).exists()


def test_an_organization_that_goes_leaves_the_limit(mara: User) -> None:
    """Otherwise its end would show everything."""
    alone = estate.organization("alone")
    other = estate.organization("other")
    scope.limit(mara, [alone], actor="tests")
    alone.delete()
    assert scope.of(mara).is_limited
    assert not scope.of(mara).sees(other)


def test_superusers_are_no_exception(malls: list[Organization]) -> None:
    root = User.objects.create(username="root", is_superuser=True)
    scope.limit(root, [malls[0]], actor="tests")
    assert set(scope.visible(root, Organization.objects.all())) == set(malls[:3])


def test_limits_are_not_for_the_limited(mara: User, malls: list[Organization]) -> None:
    scope.limit(mara, [malls[0]], actor="tests")
    assert not scope.visible(mara, StaffScope.objects.all()).exists()


def test_events_and_alerts_of_nobody_are_hidden_from_the_limited(
    mara: User, malls: list[Organization]
) -> None:
    audit.record(audit.Entry(action="kek", actor="tests", organization=""), now=NOW)
    ExpiryAlert.objects.create(
        artefact="kek", subject=malls[0].pk, ends=NOW, threshold=1, raised_at=NOW
    )
    scope.limit(mara, [malls[0]], actor="tests")
    assert not scope.visible(mara, KeyEvent.objects.filter(action="kek")).exists()
    assert not scope.visible(mara, ExpiryAlert.objects.filter(organization=None)).exists()


def test_host_wide_certificates_are_seen_on_ones_own_hosts_only(mara: User) -> None:
    mine = estate.organization("mine")
    here = estate.certificate(None, days=100, host=estate.LIVE_HOST)
    estate.certificate(None, days=100, host=estate.HOST)
    scope.limit(mara, [mine], actor="tests")
    assert list(scope.visible(mara, GatewayCertificate.objects.all())) == [here]


def test_names_out_of_scope_are_counted_not_told(mara: User, malls: list[Organization]) -> None:
    scope.limit(mara, [malls[0]], actor="tests")
    names = [str(row) for row in malls]
    assert scope.of(mara).names(names) == (names[:3], 3)
    assert scope.EVERYTHING.names(names) == (names, 0)


def test_lifting_shows_everything_again_and_both_are_audited(
    mara: User, malls: list[Organization]
) -> None:
    scope.limit(mara, [malls[0]], actor="kim")
    scope.lift(mara, actor="kim")
    scope.lift(mara, actor="kim")
    assert not scope.of(mara).is_limited
    said = KeyEvent.objects.filter(actor="kim").order_by("seq").values_list("action", "reason")
    assert list(said) == [
        ("limit-user", f"mara sees {malls[0]}"),
        ("lift-limit", "mara sees everything"),
    ]
