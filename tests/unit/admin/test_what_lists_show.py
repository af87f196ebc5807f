"""What people read first: the front page, columns, badges, headings, and what looks dangerous."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta

import pytest
from django.test import Client
from django.utils import timezone

from django_cybs_jwt.admin import chart
from django_cybs_jwt.models import KeyEvent, Organization
from django_cybs_jwt.services import approvals, audit
from django_cybs_jwt.services.overview.watching import Hour
from tests import pseudo
from tests.unit.admin import people
from tests.unit.admin.people import url
from tests.unit.services import enrolment, estate

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("cybs_ring", "fresh_chain")]
HOME = "/admin/cybs_jwt/"


@pytest.fixture
def root(db: None) -> Client:
    return people.client(people.superuser())


@pytest.fixture
def mall() -> Organization:
    return enrolment.organization("mall", kind="portfolio")


def text(visitor: Client, address: str) -> str:
    answer = visitor.get(address)
    assert answer.status_code == 200
    return str(answer.content.decode())


def column(content: str, name: str) -> str:
    """The first cell of a list's column."""
    found = re.search(rf'<t[hd] class="field-{name}[^"]*">(.*?)</t[hd]>', content, re.DOTALL)
    assert found, name
    return found[1]


def words(html: str) -> str:
    return re.sub(r"<[^>]+>", "", html).strip()


def test_the_front_page_begins_with_what_is_to_do(root: Client, mall: Organization) -> None:
    content = text(root, HOME)
    headings = re.findall(r'<h2 id="cybs-\w+">([^<]+)</h2>', content)
    assert headings[0] == "To do"
    assert headings[1:] == ["Merchants", "Keys", "Request-MLE certificates", "Queue"]


def test_the_front_page_leads_where_one_wants_to_go_if_one_may(root: Client) -> None:
    ways = [
        url("credential", "import"),
        url("expiryalert", "dashboard"),
        url("organization", "readiness"),
    ]

    def offered(visitor: Client) -> list[bool]:
        content = text(visitor, HOME)
        return [f'href="{way}"' in content for way in ways]

    assert offered(root) == [True, True, True]
    assert offered(people.client(people.staff("vera", "viewers"))) == [False, True, True]
    alone = people.allowed("bert", "view_organization", "import_credential")
    assert offered(people.client(alone)) == [False, False, True]


def test_a_number_of_those_that_lack_something_says_what(root: Client) -> None:
    enrolment.organization("acme")
    content = text(root, HOME)
    for said in (
        "1 not ready",
        "1 without a JWT v2 key",
        "1 without request MLE",
        "1 not verified",
    ):
        assert said in content


def test_a_portfolio_without_a_key_lacks_nothing(root: Client, mall: Organization) -> None:
    content = text(root, url("organization", "changelist"))
    assert words(column(content, "signing")) == "not needed"
    names = ("request_mle", "response_mle_key", "verified")
    assert [words(column(content, name)) for name in names] == ["-", "-", "-"]
    assert "cybs-bad " not in content.replace('"', " ")
    page = text(root, url("organization", "change", mall.pk))
    assert "errornote" not in page
    assert "none is needed" in page


def test_a_portfolio_with_a_key_is_judged_as_a_merchant_is(
    root: Client, mall: Organization
) -> None:
    enrolment.shared_secret(mall, covers="all")
    content = text(root, url("organization", "changelist"))
    assert words(column(content, "signing")) == "own"
    assert words(column(content, "verified")) == "untested"


@pytest.mark.parametrize("model", ["credential", "keyslot"])
def test_a_list_leads_from_a_key_to_the_key_and_from_its_owner_to_the_owner(
    root: Client, model: str
) -> None:
    owner = enrolment.organization("acme")
    key = enrolment.shared_secret(owner)
    row = key if model == "credential" else key.slot
    content = text(root, url(model, "changelist"))
    place = url("organization", "change", owner.pk)
    cell = column(content, "to_organization")
    assert f'<a href="{place}">' in cell
    assert words(cell) == str(owner)
    assert f'href="{url(model, "change", row.pk)}"' in content


def test_who_may_not_see_organizations_is_not_led_to_them() -> None:
    enrolment.shared_secret(enrolment.organization("acme"))
    visitor = people.client(people.allowed("bert", "view_credential"))
    content = text(visitor, url("credential", "changelist"))
    assert words(column(content, "organization")).startswith("acme@")
    assert "/organization/" not in content


def test_no_row_shows_the_digests_of_an_import_and_the_page_of_the_event_does(
    root: Client,
) -> None:
    owner = enrolment.organization("acme")
    key = enrolment.shared_secret(owner)
    places = (
        url("organization", "change", owner.pk),
        url("credential", "change", key.pk),
        url("keyevent", "changelist"),
    )
    for place in places:
        assert "sealed_secret=" not in text(root, place), place
    event = root.get(places[-1]).context["cl"].result_list
    (imported,) = (row for row in event if row.action == "import")
    assert "sealed_secret=" in text(root, url("keyevent", "change", imported.pk))


def test_the_heading_of_an_approval_says_what_is_asked_for_whom(root: Client) -> None:
    key = enrolment.shared_secret(enrolment.organization("acme"), activate=False)
    row = approvals.request("destroy", key, actor="kim", now=timezone.now())
    content = text(root, url("approval", "change", row.pk))
    assert f"<h2>Destroy: acme, Request signing, {key.key_id}</h2>" in content
    assert str(key.pk) not in words(content)


def test_lists_say_in_words_what_rows_hold_as_codes(root: Client) -> None:
    key = enrolment.shared_secret(enrolment.organization("acme"), activate=False)
    approvals.request("destroy", key, actor="kim", now=timezone.now())
    audit.record(audit.Entry(action="kek-generate", actor="kim", organization=""))
    assert f"acme, Request signing, {key.key_id}" in text(root, url("approval", "changelist"))
    events = words(text(root, url("keyevent", "changelist")))
    assert "Make a key-encryption key" in events
    assert "kek-generate" not in events


def test_an_approval_calls_the_key_a_key_and_leads_to_it(root: Client) -> None:
    key = enrolment.shared_secret(enrolment.organization("acme"), activate=False)
    row = approvals.request("destroy", key, actor="kim", now=timezone.now())
    content = text(root, url("approval", "change", row.pk))
    assert "Credential:" not in content
    assert f'href="{url("credential", "change", key.pk)}"' in content


def test_an_event_says_states_in_words(root: Client) -> None:
    enrolment.shared_secret(enrolment.organization("acme"))
    event = KeyEvent.objects.get(action="activate")
    content = text(root, url("keyevent", "change", event.pk))
    assert ("Staged" in content, "STAGED" in content) == (True, False)


def test_what_is_shown_and_not_done_offers_a_way_back_and_no_refusal(root: Client) -> None:
    acme = enrolment.organization("acme")
    content = text(root, url("organization", "dry_run", acme.pk))
    assert ("Back" in content, "No, take me back" in content) == (True, False)


def test_a_chart_of_hours_says_which_are_its_first_and_last() -> None:
    first = datetime(2026, 11, 3, 8, tzinfo=UTC)
    hours = [Hour(begins=first + timedelta(hours=n), old=1, new=n) for n in range(3)]
    drawn = chart.hourly(hours)
    assert (drawn.first, drawn.last) == (first, first + timedelta(hours=2))
    assert round(drawn.bars[-1].x + drawn.bars[-1].width) in range(chart.WIDTH - 3, chart.WIDTH + 1)


def test_a_key_and_a_slot_are_named_in_the_readers_language_and_stored_in_english(
    root: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    key = enrolment.shared_secret(enrolment.organization("acme"))
    pseudo.speak(monkeypatch.setattr)
    assert str(key.slot) == "acme, ⟦Request signing⟧"
    assert key.slot.named.english == "acme, Request signing"
    assert key.named.english == f"acme, Request signing, {key.key_id}"


def test_the_report_breaks_between_a_merchant_and_its_host(root: Client) -> None:
    owner = estate.organization("acme")
    cell = re.search(r'<th scope="row">(.*?)</th>', text(root, url("organization", "readiness")))
    assert cell
    assert words(cell[1].split("<br>")[0]) == "acme"
    assert words(cell[1].split("<br>")[1]) == f"@{owner.host}"


def test_a_tool_that_takes_away_looks_like_django_s_own(root: Client) -> None:
    key = enrolment.shared_secret(enrolment.organization("acme"))
    content = text(root, url("credential", "change", key.pk))
    tools = re.findall(r'<li class="cybs-tool"><a href="[^"]+"([^>]*)>([^<]+)<', content)
    looks = {name: mark.strip() for mark, name in tools}
    assert looks["Verify with the gateway"] == ""
    for name in ("Suspend", "Retire", "Mark as compromised"):
        assert looks[name] == 'class="deletelink"'
