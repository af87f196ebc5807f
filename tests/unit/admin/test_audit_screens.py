"""The audit chain in the admin: searched, verified, taken out; each within its scope."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.db import connection
from django.utils import timezone

from django_cybs_jwt.models import KeyEvent, Organization
from django_cybs_jwt.services import audit
from django_cybs_jwt.services.audit import chain as audit_chain
from tests.unit.admin import people
from tests.unit.services import estate

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("cybs_ring", "fresh_chain")]
ACME, MALL = f"acme@{estate.LIVE_HOST}", f"mall@{estate.LIVE_HOST}"


@pytest.fixture
def chain() -> None:
    """Five rows of three months."""
    estate.organization("acme")
    estate.organization("mall", kind="portfolio")
    # Older than the chain: rows of their own would be two more.
    Organization.objects.update(created_at=datetime(2026, 1, 1, tzinfo=UTC))
    for month, organization, action, actor in (
        (9, ACME, "stage", "alice"),
        (9, MALL, "stage", "bob"),
        (10, ACME, "activate", "alice"),
        (11, ACME, "suspend", "carol"),
        (11, "", "limit-user", "root"),
    ):
        entry = audit.Entry(
            action=action, actor=actor, organization=organization, reason="ticket 4711"
        )
        audit.record(entry, now=datetime(2026, month, 3, tzinfo=UTC))


@pytest.fixture
def auditor() -> User:
    return people.staff("anna", "auditors")


def page(name: str) -> str:
    return people.url("keyevent", name)


def listed(user: User, **query: str) -> list[int]:
    answer = people.client(user).get(page("changelist"), query)
    assert answer.status_code == 200
    return [row.seq for row in answer.context["cl"].result_list]


def exported(user: User, query: str = "") -> list[dict[str, Any]]:
    answer = people.client(user).post(f"{page('export')}?{query}")
    assert answer.status_code == 200
    assert answer.streaming
    assert answer["Content-Disposition"].startswith("attachment; filename=")
    text = b"".join(answer.streaming_content).decode()
    return [json.loads(line) for line in text.splitlines()]


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ({}, [5, 4, 3, 2, 1]),
        ({"q": "acme"}, [4, 3, 1]),
        ({"q": "ali"}, [3, 1]),
        ({"q": "4711"}, [5, 4, 3, 2, 1]),
        ({"q": "nothing"}, []),
        ({"action": "stage"}, [2, 1]),
        ({"outcome__exact": "denied"}, []),
        ({"at__year": "2026", "at__month": "11"}, [5, 4]),
        ({"at__year": "2026", "at__month": "9", "at__day": "3"}, [2, 1]),
        ({"organization": MALL}, [2]),
    ],
)
def test_the_list_is_searched_and_filtered(
    chain: None, auditor: User, query: dict[str, str], expected: list[int]
) -> None:
    assert listed(auditor, **query) == expected


def test_a_limited_auditor_finds_his_part_in_the_list_and_in_the_export(
    chain: None, auditor: User
) -> None:
    people.limited(auditor, Organization.objects.get(org_id="mall"))
    assert listed(auditor) == [2]
    assert listed(auditor, organization=ACME) == []
    assert [row["seq"] for row in exported(auditor)] == [2]
    assert [row["seq"] for row in exported(auditor, f"organization={ACME}")] == []
    row = KeyEvent.objects.get(seq=1)
    assert people.client(auditor).get(people.url("keyevent", "change", row.pk)).status_code == 404


def test_a_reason_names_nobody_whom_a_limited_auditor_does_not_see(
    chain: None, auditor: User
) -> None:
    """In the list, on the page of the event, on that of the organization and in the export."""
    mall = Organization.objects.get(org_id="mall")
    entry = audit.Entry(
        action="choose",
        actor="kim",
        organization=MALL,
        reason="covers selected; +acme -shop.1, as mall and acme. asked",
    )
    event = audit.record(entry)
    estate.organization("shop", parent=mall)
    estate.organization("shop.1")
    people.limited(auditor, mall)
    made = people.client(auditor)
    told = "covers selected; +… -…, as mall and … asked"
    places = [page("changelist"), people.url("keyevent", "change", event.pk)]
    for place in [*places, people.url("organization", "change", mall.pk)]:
        text = made.get(place).content.decode()
        assert told in text, place
        assert "acme" not in text
    assert exported(auditor)[-1]["reason"] == told
    assert KeyEvent.objects.get(pk=event.pk).reason == entry.reason


def test_no_search_tells_a_limited_auditor_what_is_left_out(chain: None, auditor: User) -> None:
    mall = Organization.objects.get(org_id="mall")
    audit.record(audit.Entry(action="x", actor="kim", organization=MALL, reason="beside acme"))
    assert listed(auditor, q="beside") == listed(auditor, about="beside") == [6]
    people.limited(auditor, mall)
    for query in ({"q": "acme"}, {"q": "besi"}, {"about": "acme"}, {"about": "besi"}):
        assert listed(auditor, **query) == [], query
    assert listed(auditor, q="kim") == [6]


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("", [1, 2, 3, 4, 5]),
        ("q=acme", [1, 3, 4]),
        ("action=stage&q=acme", [1]),
        ("at__year=2026&at__month=11", [4, 5]),
        ("o=1&p=0", [1, 2, 3, 4, 5]),
    ],
)
def test_the_export_is_what_the_list_shows_oldest_first_and_is_a_row_itself(
    chain: None, auditor: User, query: str, expected: list[int]
) -> None:
    found = exported(auditor, query)
    assert [row["seq"] for row in found][: len(expected)] == expected
    first = KeyEvent.objects.get(seq=expected[0])
    assert found[0] == {**audit.chained(first), "digest": first.digest}
    own = KeyEvent.objects.get(action="audit-export")
    assert (own.actor, own.reason) == ("anna", query or "everything")


def test_the_link_to_the_export_keeps_the_filters(chain: None, auditor: User) -> None:
    content = people.client(auditor).get(f"{page('changelist')}?q=acme&action=stage")
    assert f"{page('export')}?q=acme&amp;action=stage" in content.content.decode()


def test_nothing_is_taken_out_by_get_or_with_a_filter_that_cannot_be(
    chain: None, auditor: User
) -> None:
    made = people.client(auditor)
    assert made.get(page("export")).status_code == 200
    assert not made.get(page("export")).streaming
    assert made.post(f"{page('export')}?digest__startswith=a").status_code == 400
    refused = made.post(f"{page('export')}?at__year=x")
    assert "One of the filters cannot be." in str(*refused.context["messages"])
    assert not KeyEvent.objects.filter(action="audit-export").exists()


@pytest.mark.parametrize("name", ["verify", "export"])
@pytest.mark.parametrize(
    ("codenames", "status"),
    [
        ((), 403),
        (("view_keyevent",), 403),
        (("audit_keyevent",), 403),
        (("view_keyevent", "audit_keyevent"), 200),
    ],
)
def test_both_take_the_permission(
    chain: None, name: str, codenames: tuple[str, ...], status: int
) -> None:
    made = people.client(people.allowed("mara", *codenames))
    assert made.get(page(name)).status_code == status
    assert made.post(page(name), {"rows": "all"}).status_code == status


# Whether it is whole


def test_a_fault_names_nobody_whom_a_limited_auditor_does_not_see(
    chain: None, auditor: User
) -> None:
    owners = Organization.objects.all()
    for owner in owners:
        estate.key(owner)  # without a row of its import
    people.limited(auditor, owners.get(org_id="mall"))
    shown = verified(auditor)
    assert f"of {MALL} has no row of its import" in shown
    assert f"of …@{estate.LIVE_HOST} has no row of its import" in shown
    assert "acme" not in shown


def verified(user: User, rows: str = "all") -> str:
    answer = people.client(user).post(page("verify"), {"rows": rows})
    assert answer.status_code == 200
    return str(answer.content.decode())


def badge(user: User) -> str:
    text = people.client(user).get(page("changelist")).content.decode()
    return " ".join(text[text.index("cybs-verdict") :][:200].split())


def change(seq: int) -> None:
    with connection.cursor() as cursor:
        cursor.execute("UPDATE cybs_jwt_keyevent SET reason = 'x' WHERE seq = %s", [seq])


def test_the_badge_says_what_the_last_verification_said(chain: None, auditor: User) -> None:
    assert "never verified here" in badge(auditor)
    content = verified(auditor)
    assert "5 rows were read." in content
    assert str(audit_chain.verify(since=None).anchor).partition(":")[0] == "6"  # its own row
    assert "5:" in content
    assert "cybs-good" in badge(auditor)
    change(2)
    assert "Row 2 does not match its digest" in verified(auditor)
    assert "not whole" in badge(auditor)
    assert [row.to_state for row in KeyEvent.objects.filter(action="audit-verify")] == [
        "BROKEN",
        "WHOLE",
    ]


def test_only_new_rows_are_read_where_that_is_asked_for(chain: None, auditor: User) -> None:
    verified(auditor)
    change(2)
    assert "1 row was read." in verified(auditor, "new")
    change(7)
    assert "Row 7 does not match" in verified(auditor, "new")


def test_after_a_broken_verdict_everything_is_read_again(chain: None, auditor: User) -> None:
    change(2)
    verified(auditor)
    assert "Row 2 does not match its digest" in verified(auditor, "new")


@pytest.mark.parametrize("anchor", ["", "6 rows read: anchor", "1 rows read: anchor 7:" + "0" * 64])
def test_a_forged_anchor_hides_nothing(chain: None, auditor: User, anchor: str) -> None:
    """It would have to stand before its own row, and that row is read."""
    verified(auditor)
    with connection.cursor() as cursor:
        cursor.execute("UPDATE cybs_jwt_keyevent SET reason = %s WHERE seq = 6", [anchor])
    assert "Row 6 does not match" in verified(auditor, "new")


def test_a_chain_that_takes_no_row_any_more_is_still_judged(chain: None, auditor: User) -> None:
    with connection.cursor() as cursor:
        cursor.execute("UPDATE cybs_jwt_audithead SET seq = 3")
    assert "stands behind the head" in verified(auditor)


def test_the_list_asks_little(
    chain: None, auditor: User, django_assert_max_num_queries: Any
) -> None:
    for number in range(120):
        audit.record(
            audit.Entry(action="stage", actor="x", organization=f"mid{number}"),
            now=timezone.now(),
        )
    made = people.client(auditor)
    with django_assert_max_num_queries(15):
        assert made.get(page("changelist")).status_code == 200
