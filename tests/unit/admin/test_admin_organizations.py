"""Organizations in the admin: badges, filters, the page of one, the front page, scope."""

from __future__ import annotations

import re
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.test import Client
from django.utils import timezone

from django_cybs_jwt.admin import key_page, organizations, screens
from django_cybs_jwt.models import (
    Coverage,
    Credential,
    KeyEvent,
    KeySlot,
    Organization,
    OutboundRequest,
    State,
    Verdict,
)
from django_cybs_jwt.services import audit
from tests.unit.admin import people
from tests.unit.admin.people import url
from tests.unit.services import estate
from tests.unit.services.estate import DAY

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("cybs_ring", "fresh_chain")]

LIST = "/admin/cybs_jwt/organization/"
HOME = "/admin/cybs_jwt/"


@pytest.fixture
def mall() -> dict[str, Organization]:
    """A portfolio whose meta key serves its account's merchants; one merchant has its own key."""
    now = timezone.now()
    top = estate.organization("mall", kind="portfolio")
    account = estate.organization("wing", kind="account", parent=top)
    garden = estate.organization("garden", parent=account)
    shoes = estate.organization("shoes", parent=account, name="Shoe shop")
    lonely = estate.organization("lonely", host=estate.HOST)
    for purpose in ("signing", "response-mle"):
        estate.key(top, covers="all", purpose=purpose, now=now)
        estate.key(shoes, purpose=purpose, days=5, now=now, verify_outcome=Verdict.ACCEPTED)
    estate.certificate(None, days=500, host=estate.LIVE_HOST, now=now)
    rows = (top, account, garden, shoes, lonely)
    return {row.org_id: row for row in rows}


@pytest.fixture
def root(db: None) -> Any:
    return people.client(people.superuser())


def cells(content: str, org_id: str) -> dict[str, str]:
    """The row of *org_id*: what each of its cells says."""
    found = re.search(rf"<th [^>]*><a [^>]*>{org_id}</a></th>(.*?)</tr>", content, re.DOTALL)
    assert found, org_id
    pairs = re.findall(r'<td class="field-(\w+)[^"]*">(.*?)</td>', found[1], re.DOTALL)
    return {name: re.sub(r"<[^>]+>", "", value).strip() for name, value in pairs}


def listed(visitor: Any, query: str = "") -> set[str]:
    content = visitor.get(f"{LIST}?{query}").content.decode()
    return set(re.findall(r'class="field-org_id[^"]*"><a [^>]*>([^<]+)</a>', content))


def page(visitor: Any, row: Organization) -> str:
    answer = visitor.get(url("organization", "change", row.pk))
    assert answer.status_code == 200
    return str(answer.content.decode())


def test_the_list_narrows_to_all_whom_the_keys_of_a_slot_may_sign_for(root: Any, mall: Any) -> None:
    slot = mall["mall"].slots.get(purpose="signing")
    assert listed(root, f"signer={slot.pk}") == {"wing", "garden", "shoes"}
    slot.coverage = Coverage.SELECTED
    slot.save()
    slot.merchants.add(mall["garden"])
    assert listed(root, f"signer={slot.pk}") == {"garden"}
    own = mall["shoes"].slots.get(purpose="signing")
    assert listed(root, f"signer={own.pk}") == {"shoes"}
    assert listed(root, "signer=nobody") == listed(root, f"signer={own.pk.int}") == set()


def test_of_whom_a_slot_may_sign_for_limited_staff_see_their_part_and_of_no_other_slot(
    mall: Any,
) -> None:
    slot, own = (mall[name].slots.get(purpose="signing") for name in ("mall", "shoes"))
    garden = people.limited(people.staff("gina", "viewers"), mall["garden"])
    assert listed(people.client(garden), f"signer={own.pk}") == set()
    assert listed(people.client(garden), f"signer={slot.pk}") == set()
    top = people.limited(people.staff("tom", "viewers"), mall["mall"])
    assert listed(people.client(top), f"signer={slot.pk}") == {"wing", "garden", "shoes"}


def test_a_page_that_names_the_first_merchants_of_a_key_leads_to_all(
    root: Any, mall: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module, most in (
        (organizations, "MOST_MERCHANTS"),
        (key_page, "MOST_SHOWN"),
        (screens, "MOST_NAMES"),
    ):
        monkeypatch.setattr(module, most, 0)
    slot = mall["mall"].slots.get(purpose="signing")
    for place in (
        url("organization", "change", mall["mall"].pk),
        url("keyslot", "change", slot.pk),
        url("credential", "suspend", slot.credentials.get().pk),
    ):
        assert f'href="{LIST}?signer={slot.pk}"' in root.get(place).content.decode(), place


def test_badges_say_what_each_is_ready_for(root: Any, mall: Any) -> None:
    content = root.get(LIST).content.decode()
    shown = {name: cells(content, name) for name in mall}
    assert (
        shown["shoes"].items()
        >= {
            "signing": "own",
            "days_left": "4",
            "request_mle": "ready",
            "response_mle_key": "ready",
            "verified": "verified",
            "meta_key": "-",
            "above": "wing",
        }.items()
    )
    assert (
        shown["garden"].items()
        >= {
            "signing": "meta key",
            "meta_key": "mall",
            "verified": "untested",
        }.items()
    )
    assert shown["mall"]["meta_key"] == "serves others"
    assert (
        shown["lonely"].items()
        >= {
            "signing": "none",
            "days_left": "-",
            "request_mle": "none",
            "response_mle_key": "none",
        }.items()
    )


def test_a_disabled_organization_says_so(root: Any, mall: Any) -> None:
    Organization.objects.filter(org_id="shoes").update(active=False)
    assert cells(root.get(LIST).content.decode(), "shoes")["signing"] == "disabled"


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("q=sho", {"shoes"}),
        ("q=Shoe+shop", {"shoes"}),
        ("has=ready", {"shoes"}),
        ("lacks=ready", {"garden", "lonely"}),
        ("lacks=jwt_v2", {"lonely"}),
        ("lacks=verified", {"garden", "lonely"}),
        ("ends=7", {"shoes"}),
        ("ends=90", {"shoes"}),
        ("state=ACTIVE", {"mall", "shoes"}),
        ("state=none", {"wing", "garden", "lonely"}),
        ("use=unused", {"mall", "shoes"}),
        ("use=used", set()),
        (f"host={estate.HOST}", {"lonely"}),
        ("kind__exact=portfolio", {"mall"}),
        ("live__exact=0", {"lonely"}),
        ("has=secret", set()),
        ("ends=9999", set()),
        ("state=x", set()),
        ("use=x", set()),
        ("portfolio=x", set()),
    ],
)
def test_filters_find_what_they_say(root: Any, mall: Any, query: str, expected: set[str]) -> None:
    assert listed(root, query) == expected


def test_a_portfolio_is_shown_with_all_under_it(root: Any, mall: Any) -> None:
    assert listed(root, f"portfolio={mall['mall'].pk}") == {"mall", "wing", "garden", "shoes"}


@pytest.fixture
def many(mall: Any) -> None:
    """Sixty merchants more; some with keys that compete, some that a slot of their own selects."""
    now = timezone.now()
    meta = estate.key(mall["mall"], covers="selected", name="chosen", now=now)
    for n in range(60):
        owner = estate.organization(f"mid{n:02}", parent=mall["wing"])
        if n % 2:
            estate.key(owner, days=n, now=now)
        if n % 10 == 0:
            meta.slot.merchants.add(owner)
        if n % 15 == 0:
            estate.key(owner, name="second", now=now)


@pytest.mark.usefixtures("many")
@pytest.mark.parametrize("limited", [False, True])
def test_a_list_of_many_costs_as_many_queries_as_one_of_few(
    mall: Any, limited: bool, django_assert_max_num_queries: Any
) -> None:
    user = people.staff("vera", "viewers")
    if limited:
        people.limited(user, mall["mall"])
    visitor = people.client(user)
    for query in (
        *("", "q=mid", "portfolio=" + str(mall["mall"].pk), "state=ACTIVE", "use=unused", "o=-1"),
        *("lacks=ready", "has=verified", "ends=90", "q=mid&lacks=verified&has=jwt_v2&ends=90"),
    ):
        with django_assert_max_num_queries(15):
            answer = visitor.get(f"{LIST}?{query}")
        assert answer.context["cl"].result_count > 0, query


@pytest.mark.usefixtures("many")
def test_the_front_page_costs_few_queries(mall: Any, django_assert_max_num_queries: Any) -> None:
    visitor = people.client(people.limited(people.staff("vera", "viewers"), mall["mall"]))
    with django_assert_max_num_queries(15):
        assert visitor.get(HOME).status_code == 200


# One organization


def test_the_page_tells_which_key_signs_and_what_was_looked_at(root: Any, mall: Any) -> None:
    text = page(root, mall["garden"])
    meta = Credential.objects.get(organization=mall["mall"], slot__purpose="signing")
    assert meta.key_id in text
    order = ["garden&#x27;s own key", "meta keys that select it", "wing&#x27;s", "mall&#x27;s"]
    places = [text.index(place) for place in order]
    assert places == sorted(places)
    assert re.findall(r">(passed|signs|not reached|stops)</span>", text) == [
        "passed",
        "passed",
        "passed",
        "signs",
    ]


def test_a_key_that_stops_the_search_is_told_with_its_cure(root: Any, mall: Any) -> None:
    key = Credential.objects.get(organization=mall["shoes"], slot__purpose="signing")
    Credential.objects.filter(pk=key.pk).update(state=State.SUSPENDED, active_slot=None)
    text = page(root, mall["shoes"])
    assert f"{key.key_id} is SUSPENDED" in text
    assert re.findall(r">(passed|signs|not reached|stops)</span>", text)[0] == "stops"


def test_without_any_key_the_page_says_how_to_get_one(root: Any, mall: Any) -> None:
    assert "No active signing key for lonely@" in page(root, mall["lonely"])


def test_the_timeline_has_a_bar_for_each_key(root: Any, mall: Any) -> None:
    text = page(root, mall["shoes"])
    assert text.count('<rect class="cybs-bar') == 2
    for left, width in re.findall(r'x="([\d.]+)%" width="([\d.]+)%"', text):
        assert 0 <= float(left) <= 100
        assert 0 < float(width) <= 100


def test_coverage_and_descendants_are_listed(root: Any, mall: Any) -> None:
    text = page(root, mall["mall"])
    assert "3 organizations stand under it" in text
    assert f"garden@{estate.LIVE_HOST}" in text


def test_the_audit_is_shown_to_who_may_see_it(root: Any, mall: Any) -> None:
    entry = audit.Entry(action="x-ray", actor="kim", organization=str(mall["shoes"]))
    audit.record(entry)
    assert "x-ray" in page(root, mall["shoes"])
    blind = people.client(people.allowed("bert", "view_organization"))
    assert "x-ray" not in page(blind, mall["shoes"])


def send(owner: Organization, **columns: Any) -> OutboundRequest:
    facts: dict[str, Any] = {
        "operation": "POST /pts/v2/payments",
        "safety": "GUARDED",
        "idempotency_key": f"order {OutboundRequest.objects.count()}",
        "state": "ANSWERED",
        "http_status": 201,
        "outcome": "AUTHORIZED",
        "created_at": timezone.now(),
        "sealed_payload": b"cybs1 sealed payload",
    }
    return OutboundRequest.objects.create(
        organization=owner, host=owner.host, **{**facts, **columns}
    )


def test_the_newest_sends_are_facts_that_lead_to_their_pages(
    root: Any, mall: Any, django_assert_max_num_queries: Any
) -> None:
    first = send(mall["shoes"], created_at=timezone.now() - DAY, outcome="LONG-AGO")
    rows = [send(mall["shoes"]) for _ in range(20)]
    other = send(mall["garden"])
    with django_assert_max_num_queries(40) as captured:
        text = page(root, mall["shoes"])
    for row in rows:
        assert url("outboundrequest", "change", row.pk) in text
    for row in (first, other):
        assert url("outboundrequest", "change", row.pk) not in text
    assert "POST /pts/v2/payments" in text
    for column in ("sealed_payload", "sealed_reply"):
        assert not any(column in query["sql"] for query in captured)


def test_sends_are_shown_to_who_may_see_them(mall: Any) -> None:
    send(mall["shoes"])
    blind = people.client(people.allowed("bert", "view_organization"))
    assert "POST /pts/v2/payments" not in page(blind, mall["shoes"])


def test_facts_of_keys_and_ways_to_them_are_shown_to_who_may_see_keys(mall: Any) -> None:
    """On the pages of organizations and of slots, of keys of each kind and state."""
    estate.key(mall["shoes"], state=State.SUSPENDED, name="other", suspended_at=timezone.now())
    places = [url("organization", "change", row.pk) for row in mall.values()]
    places += [url("keyslot", "change", row.pk) for row in KeySlot.objects.all()]
    both = ("view_organization", "view_keyslot")
    blind = people.client(people.allowed("bert", *both))
    seeing = people.client(people.allowed("berta", *both, "view_credential"))
    blind_text, seen = ("".join(c.get(p).content.decode() for p in places) for c in (blind, seeing))
    way = "/admin/cybs_jwt/credential/"
    for key in Credential.objects.all():
        assert (key.key_id in blind_text, key.key_id in seen) == (False, True)
    assert (f'href="{way}' in blind_text, f'href="{way}' in seen) == (False, True)
    assert blind_text.count("Your account may not view keys.") == len(places) - 1  # wing needs none


# Scope


@pytest.fixture
def mara(mall: Any) -> User:
    return people.limited(people.staff("mara", "viewers"), mall["wing"])


def test_the_limited_find_only_theirs(mara: User, mall: Any) -> None:
    visitor = people.client(mara)
    assert listed(visitor) == {"wing", "garden", "shoes"}
    assert listed(visitor, f"portfolio={mall['mall'].pk}") == {"wing", "garden", "shoes"}
    assert listed(visitor, "q=lonely") == set()
    hosts = visitor.get(LIST).content.decode()
    assert f"host={estate.HOST}" not in hosts


def test_what_stands_above_is_neither_named_nor_linked(mara: User, mall: Any) -> None:
    visitor = people.client(mara)
    keys = Credential.objects.filter(organization=mall["mall"]).values_list("key_id", flat=True)
    texts = [visitor.get(LIST).content.decode(), visitor.get(HOME).content.decode()]
    texts += [page(visitor, mall[name]) for name in ("wing", "garden", "shoes")]
    for text in texts:
        assert not re.search(r"\bmall\b", text)
        assert not any(key_id in text for key_id in keys)


@pytest.mark.parametrize("name", ["mall", "lonely"])
def test_a_page_out_of_scope_is_not_found(mara: User, mall: Any, name: str) -> None:
    visitor = people.client(mara)
    for kind in ("change", "history", "delete"):
        answer = visitor.get(url("organization", kind, mall[name].pk))
        assert answer.status_code == 404 or (kind == "delete" and answer.status_code == 403)


def test_every_model_answers_404_out_of_scope(mara: User, mall: Any) -> None:
    visitor = people.client(mara)
    key = Credential.objects.filter(organization=mall["mall"]).first()
    assert key is not None
    event = audit.record(audit.Entry(action="x", actor="kim", organization=str(mall["mall"])))
    other = estate.certificate(None, days=3, host=estate.HOST)
    pairs = [
        ("credential", key.pk),
        ("keyslot", key.slot_id),
        ("keyevent", event.pk),
        ("gatewaycertificate", other.pk),
    ]
    for model, pk in pairs:
        for kind in ("change", "history"):
            assert visitor.get(url(model, kind, pk)).status_code == 404, model
        assert str(pk) not in visitor.get(url(model, "changelist")).content.decode()


def test_autocomplete_offers_only_what_is_seen(mall: Any) -> None:
    keeper = people.allowed("kai", "view_organization", "change_staffscope", "view_staffscope")
    query = {"app_label": "cybs_jwt", "model_name": "credential", "field_name": "organization"}
    visitor = people.client(keeper)
    asked = visitor.get("/admin/autocomplete/", {**query, "term": ""})
    assert len(asked.json()["results"]) == 5
    people.limited(keeper, mall["wing"])
    again = visitor.get("/admin/autocomplete/", {**query, "term": ""})
    names = {row["text"].split("@")[0] for row in again.json()["results"]}
    assert names == {"wing", "garden", "shoes"}


# Limits are set in the admin too


@pytest.fixture
def keeper() -> User:
    return people.allowed("kai", "view_organization", "change_staffscope", "view_staffscope")


@pytest.fixture
def kai(keeper: User) -> Client:
    made = people.client(keeper)
    people.password_typed(made, timezone.now().timestamp())
    return made


SURE = {"cybs_confirmed": "1"}


def test_who_is_not_limited_limits_others(mall: Any, keeper: User, kai: Client) -> None:
    vera = people.staff("vera", "viewers")
    data = {"user": "vera", "organizations": f" wing\n{mall['wing']} "}
    assert kai.post(url("staffscope", "limit"), {**data, **SURE}).status_code == 302
    row = vera.cybs_scope
    assert [top.org_id for top in row.organizations.all()] == ["wing"]
    change, lift = (url("staffscope", name, row.pk) for name in ("change_limit", "lift"))
    assert f">\n{mall['wing']}</textarea>" in kai.get(change).content.decode()
    unknown = kai.post(change, {"organizations": "wing win", **SURE})
    assert "No organization" in unknown.content.decode()
    kai.post(change, {"organizations": "garden shoes", **SURE})
    assert {top.org_id for top in row.organizations.all()} == {"garden", "shoes"}
    kai.post(lift)
    assert not type(row).objects.exists()
    assert KeyEvent.objects.filter(action="lift-limit", actor="kai").exists()
    people.limited(keeper, mall["mall"])
    for answer in (kai.post(url("staffscope", "limit"), data), kai.get(url("staffscope", "limit"))):
        assert answer.status_code == 403


def test_widening_or_lifting_a_limit_takes_the_password(mall: Any, keeper: User) -> None:
    row = people.limited(people.staff("vera", "viewers"), mall["garden"]).cybs_scope
    wide = {"user": "vera", "organizations": "mall", **SURE}
    pages = [url("staffscope", "limit")]
    pages += [url("staffscope", name, row.pk) for name in ("change_limit", "lift")]
    for page in pages:
        assert people.asks_password(people.client(keeper).post(page, wide))
    assert [top.org_id for top in row.organizations.all()] == ["garden"]


def test_a_limit_says_first_who_comes_into_sight_and_changes_nothing(
    mall: Any, kai: Client
) -> None:
    row = people.limited(people.staff("vera", "viewers"), mall["garden"]).cybs_scope
    shown = kai.post(url("staffscope", "change_limit", row.pk), {"organizations": "wing"})
    text = shown.content.decode()
    assert "Organizations in sight: 1 now, 3 afterwards." in text
    assert shown.context["consequences"]["merchants"] == [str(mall["shoes"])]
    assert 'name="organizations" value="wing"' in text
    assert [top.org_id for top in row.organizations.all()] == ["garden"]


def test_lifting_says_that_everything_is_seen_and_names_whom(mall: Any, kai: Client) -> None:
    row = people.limited(people.staff("vera", "viewers"), mall["garden"]).cybs_scope
    shown = kai.get(url("staffscope", "lift", row.pk))
    text = shown.content.decode()
    assert "vera sees everything afterwards." in text
    assert "Organizations in sight: 1 now, 5 afterwards." in text
    assert shown.context["consequences"]["merchants"] == [str(mall["lonely"]), str(mall["shoes"])]


def test_deleting_a_limit_leads_to_lifting_it(mall: Any, kai: Client) -> None:
    row = people.limited(people.staff("vera", "viewers"), mall["garden"]).cybs_scope
    answer = kai.post(url("staffscope", "delete", row.pk), {"post": "yes"})
    assert answer["Location"] == url("staffscope", "lift", row.pk)
    assert type(row).objects.exists()


# The front page


def tiles(visitor: Any) -> dict[str, int]:
    """Each number with the link that lists what it counts."""
    content = visitor.get(HOME).content.decode()
    found = re.findall(r'<a href="([^"]+)"><strong>(\d+)</strong>', content)
    return {address: int(number) for address, number in found}


@pytest.mark.parametrize("limited", [False, True])
def test_each_number_leads_to_as_many_rows(mall: Any, limited: bool) -> None:
    user = people.staff("vera", "viewers")
    if limited:
        people.limited(user, mall["wing"])
    estate.key(mall["garden"], state=State.RETIRING, overlap_until=timezone.now() + DAY)
    visitor = people.client(user)
    shown = tiles(visitor)
    assert len(shown) >= 11
    assert sum(shown.values()) > 3
    for address, number in shown.items():
        if "?" in address:
            listing = visitor.get(address)
            assert listing.context["cl"].result_count == number, address


def test_the_front_page_shows_only_what_may_be_viewed(mall: Any) -> None:
    visitor = people.client(people.allowed("bert", "view_credential"))
    content = visitor.get(HOME).content.decode()
    assert "Keys" in content
    assert "with a JWT v2 key" not in content
    assert "alerts to acknowledge" not in content
