"""From every page into the audit trail of its row, and between the pages of one merchant."""

from __future__ import annotations

import html
import re
from typing import Any

import pytest
from django.db.models import Model
from django.test import Client
from django.utils import timezone

from django_cybs_jwt.models import Credential, ExpiryAlert, Organization, OutboundRequest
from django_cybs_jwt.services import alerts, approvals, audit, scope
from django_cybs_jwt.services.alerts import recipients
from django_cybs_jwt.services.queue import operating
from tests.unit.admin import people
from tests.unit.admin.people import url
from tests.unit.services import enrolment, estate

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("cybs_ring", "fresh_chain")]


@pytest.fixture
def visitor() -> Client:
    return people.client(people.staff("vera", "viewers"))


@pytest.fixture
def acme() -> Organization:
    """Beside one whose name begins the same way, with events of its own."""
    made = [enrolment.organization(name) for name in ("acme", "acme2")]
    for owner in made:
        now = timezone.now()
        expires_at = now + 5 * estate.DAY
        enrolment.shared_secret(owner, expires_at=expires_at, now=now - 300 * estate.DAY)
    return made[0]


def request(owner: Organization, key: str = "k1") -> OutboundRequest:
    return OutboundRequest.objects.create(
        organization=owner,
        host=owner.host,
        operation="POST /pts/v2/payments",
        safety="GUARDED",
        idempotency_key=key,
        state="PARKED",
        created_at=timezone.now(),
        sealed_payload=b"sealed",
    )


def history(visitor: Client, row: Model) -> list[tuple[str, str]]:
    """What the History link leads to: action and organization of each event, the oldest first."""
    answer = visitor.get(url(row._meta.model_name or "", "history", row.pk), follow=True)
    assert answer.redirect_chain[0][0].startswith(url("keyevent", "changelist"))
    found = answer.context["cl"].result_list
    return [(event.action, event.organization) for event in reversed(found)]


def test_the_history_of_a_key_is_what_the_audit_trail_says_of_it(
    acme: Organization, visitor: Client
) -> None:
    key = Credential.objects.get(organization=acme)
    name = str(acme)
    assert history(visitor, key) == [("import", name), ("activate", name)]
    asked = approvals.request("destroy", key, actor="mara", now=timezone.now())
    assert history(visitor, asked)[-1] == ("request-approval", name)


def test_an_organization_and_its_slots_lead_to_its_own_events(
    acme: Organization, visitor: Client
) -> None:
    for row in (acme, acme.slots.get()):
        assert {owner for _, owner in history(visitor, row)} == {str(acme)}


def test_whatever_was_done_to_a_row_is_found_from_its_page(
    acme: Organization, visitor: Client
) -> None:
    now = timezone.now()
    alerts.raise_due(now)
    alert = ExpiryAlert.objects.get(organization=acme)
    alerts.acknowledge(alert.pk, actor="mara", now=now)
    assert [action for action, _ in history(visitor, alert)] == ["import", "activate", "ack-alert"]
    told = recipients.add("mail", "a@example.com", actor="mara")
    recipients.add("mail", "b@example.com", actor="mara")
    assert history(visitor, told) == [("add-recipient", "")]
    parked = request(acme)
    operating.cancel(parked, actor="mara", now=now, reason="no need")
    (step,) = history(visitor, parked)
    assert step[1] == str(acme)
    event = audit.record(audit.Entry(action="x-ray", actor="kim", organization=str(acme)))
    assert ("x-ray", str(acme)) in history(visitor, event)


def test_limited_staff_finds_what_was_done_to_his_rows(acme: Organization) -> None:
    """By ids and key IDs that he sees, though he cannot search in reasons."""
    now = timezone.now()
    alerts.raise_due(now)
    alert = ExpiryAlert.objects.get(organization=acme)
    alerts.acknowledge(alert.pk, actor="mara", now=now)
    told = recipients.add("mail", "a@example.com", actor="mara", organization=acme)
    made = people.client(people.limited(people.staff("lima", "viewers"), acme))
    assert ("ack-alert", str(acme)) in history(made, alert)
    assert history(made, told) == [("add-recipient", str(acme))]


def test_the_limits_of_a_user_are_found_from_his(visitor: Client) -> None:
    for name in ("mara", "marabel"):
        scope.limit(people.staff(name, "viewers"), [], actor="kim")
    row = scope.listing().get(user__username="mara")
    made = people.client(people.superuser())
    assert history(made, row) == [("limit-user", "")]


def test_who_may_not_view_events_is_told_where_they_are(acme: Organization) -> None:
    visitor = people.client(people.allowed("bert", "view_credential"))
    key = Credential.objects.get(organization=acme)
    text = visitor.get(url("credential", "history", key.pk)).content.decode()
    assert "in the audit trail, which your account may not view" in text
    page = visitor.get(url("credential", "change", key.pk)).content.decode()
    assert "audit trail" not in page


@pytest.mark.parametrize("of_key", [True, False])
def test_a_page_shows_the_last_events_and_leads_to_all(
    acme: Organization, visitor: Client, of_key: bool
) -> None:
    row = Credential.objects.get(organization=acme) if of_key else acme
    page = visitor.get(url(row._meta.model_name or "", "change", row.pk)).content.decode()
    assert "What happened last" in page
    assert "initial import" in page
    link = re.search(r'<a href="([^"]+)">All of it in the audit trail</a>', page)
    assert link
    assert len(visitor.get(html.unescape(link[1])).context["cl"].result_list) >= 2


def test_all_requests_of_a_merchant_are_his_alone(acme: Organization, visitor: Client) -> None:
    request(acme)
    request(Organization.objects.get(org_id="acme2"), "k2")
    page = visitor.get(url("organization", "change", acme.pk)).content.decode()
    link = re.search(r'<a href="([^"]+)">All requests</a>', page)
    assert link
    listed = visitor.get(html.unescape(link[1])).context["cl"].result_list
    assert [row.organization for row in listed] == [acme]


def test_a_merchants_page_leads_to_the_import_of_a_key_for_it(acme: Organization) -> None:
    def link(made: Client, owner: Organization) -> Any:
        page = made.get(url("organization", "change", owner.pk)).content.decode()
        return re.search(r'<a href="([^"]+)">Import a key</a>', page)

    olga = people.client(people.staff("olga", "operators"))
    found = link(olga, acme)
    assert found
    form = olga.get(html.unescape(found[1])).context["form"]
    assert form["organization"].value() == str(acme)
    assert link(people.client(people.staff("vera", "viewers")), acme) is None
    Organization.objects.filter(pk=acme.pk).update(active=False)
    assert link(olga, acme) is None
