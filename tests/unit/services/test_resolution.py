"""Which key signs for a merchant: every case of the rule, each by its name."""

from __future__ import annotations

import logging
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.utils import timezone

from django_cybs_jwt import cybs
from django_cybs_jwt.exceptions import (
    ConfigurationError,
    InvalidTransition,
    KeyNotUsable,
    LiveRefused,
    NoKey,
    OrganizationAmbiguous,
    OrganizationInactive,
    OrganizationNotFound,
)
from django_cybs_jwt.models import Credential, KeyEvent, Organization, State
from django_cybs_jwt.services import (
    coverage,
    organizations,
    readiness,
    rotation,
    signing,
    withdrawal,
)
from django_cybs_jwt.services.overview import impact
from tests.unit.services import enrolment
from tests.unit.services.enrolment import HOST, LIVE_HOST, OTHER_HOST

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("cybs_ring")]

STOPS = [State.SUSPENDED, State.COMPROMISED, State.RETIRING]
PASSES = [State.STAGED, State.VERIFIED, State.RETIRED]


def meta_key(owner: Organization, covers: str, *merchants: str, **options: Any) -> Credential:
    credential = enrolment.shared_secret(owner, covers=covers, **options)
    if merchants:
        coverage.add(owner.org_id, merchants, actor="tests", slot=options.get("slot", ""))
        signing.forget()
    return credential


def readiness_of(merchant: Organization) -> readiness.Readiness:
    (found,) = readiness.of([merchant], now=timezone.now())
    return found


def test_the_own_key_signs_before_every_meta_key() -> None:
    portfolio, account, acme = enrolment.family()
    own = enrolment.shared_secret(acme)
    meta_key(account, "all")
    meta_key(portfolio, "selected", "acme")
    assert signing.keys_for("acme").signing.kid == own.key_id


def test_a_slot_that_selects_the_merchant_signs_before_an_ancestor_that_covers_all() -> None:
    portfolio, account, _ = enrolment.family()
    meta_key(account, "all")
    selecting = meta_key(portfolio, "selected", "acme")
    assert signing.keys_for("acme").signing.kid == selecting.key_id


def test_the_nearest_ancestor_that_covers_all_signs() -> None:
    portfolio, account, _ = enrolment.family()
    meta_key(portfolio, "all")
    nearest = meta_key(account, "all")
    assert signing.keys_for("acme").signing.kid == nearest.key_id


def test_a_farther_ancestor_signs_when_the_nearer_has_no_key() -> None:
    portfolio, _, _ = enrolment.family()
    farther = meta_key(portfolio, "all")
    assert signing.keys_for("acme").signing.kid == farther.key_id


def test_an_ancestors_key_for_itself_serves_nobody_below() -> None:
    portfolio, _, _ = enrolment.family()
    enrolment.shared_secret(portfolio)
    with pytest.raises(NoKey):
        signing.keys_for("acme")


def test_a_meta_key_that_selects_others_serves_only_them() -> None:
    portfolio, _, _ = enrolment.family()
    enrolment.organization("other", parent="account")
    meta_key(portfolio, "selected", "other")
    assert signing.keys_for("other").signing.owner == "portfolio"
    with pytest.raises(NoKey):
        signing.keys_for("acme")


def test_a_merchant_listed_at_a_slot_that_selects_nobody_is_not_served() -> None:
    """Rows written past the services give no right to a key."""
    portfolio, _, acme = enrolment.family()
    own_only = enrolment.shared_secret(portfolio)
    own_only.slot.merchants.add(acme)
    with pytest.raises(NoKey):
        signing.keys_for("acme")


def test_a_strangers_meta_key_for_all_serves_no_other_family() -> None:
    enrolment.family()
    stranger = enrolment.organization("stranger", kind="portfolio")
    meta_key(stranger, "all")
    with pytest.raises(NoKey):
        signing.keys_for("acme")


def test_a_merchant_outside_the_tree_may_be_selected() -> None:
    """A platform's key serves merchants that stand under nobody."""
    enrolment.organization("acme")
    platform = enrolment.organization("platform", kind="portfolio")
    selecting = meta_key(platform, "selected", "acme")
    assert signing.keys_for("acme").signing.kid == selecting.key_id


@pytest.mark.parametrize("state", STOPS)
def test_an_own_key_that_may_not_be_used_is_an_error_never_a_fall_through(state: State) -> None:
    portfolio, account, acme = enrolment.family()
    own = enrolment.shared_secret(acme)
    meta_key(account, "all")
    meta_key(portfolio, "selected", "acme")
    enrolment.put(own, state)
    with pytest.raises(KeyNotUsable, match=f"acme's own key: {own.key_id} is {state.value}"):
        signing.keys_for("acme")


@pytest.mark.parametrize("state", STOPS)
def test_a_selecting_key_that_may_not_be_used_stops_the_search_too(state: State) -> None:
    portfolio, account, _ = enrolment.family()
    meta_key(account, "all")
    enrolment.put(meta_key(portfolio, "selected", "acme"), state)
    with pytest.raises(KeyNotUsable, match="meta keys that select it"):
        signing.keys_for("acme")


@pytest.mark.parametrize("state", STOPS)
def test_a_nearer_ancestors_unusable_key_stops_the_search_too(state: State) -> None:
    portfolio, account, _ = enrolment.family()
    meta_key(portfolio, "all")
    enrolment.put(meta_key(account, "all"), state)
    with pytest.raises(KeyNotUsable, match="account's meta key"):
        signing.keys_for("acme")


def test_an_own_certificate_that_ended_is_an_error_never_a_fall_through() -> None:
    _, account, acme = enrolment.family()
    meta_key(account, "all")
    own = enrolment.rsa_key(acme, purpose="signing")
    assert own.not_after is not None
    with pytest.raises(KeyNotUsable, match=f"{own.key_id} ended on {own.not_after:%Y-%m-%d}"):
        signing.keys_for("acme", now=own.not_after)


def test_an_own_shared_secret_past_its_typed_date_is_an_error_never_a_fall_through() -> None:
    _, account, acme = enrolment.family()
    meta_key(account, "all")
    end = timezone.now() + timedelta(days=1)
    own = enrolment.shared_secret(acme, expires_at=end)
    assert signing.keys_for("acme", now=end - timedelta(seconds=1)).signing.kid == own.key_id
    signing.forget()
    with pytest.raises(KeyNotUsable, match="Import its successor"):
        signing.keys_for("acme", now=end)


@pytest.mark.parametrize("state", PASSES)
def test_an_own_slot_with_keys_not_in_use_passes_to_the_next_level(state: State) -> None:
    _, account, acme = enrolment.family()
    own = enrolment.shared_secret(acme)
    covering = meta_key(account, "all")
    enrolment.put(own, state)
    assert signing.keys_for("acme").signing.kid == covering.key_id


def test_a_retired_key_and_a_staged_successor_pass_to_the_next_level() -> None:
    _, account, acme = enrolment.family()
    covering = meta_key(account, "all")
    first = enrolment.shared_secret(acme)
    withdrawal.retire(first, actor="tests", now=timezone.now(), reason="moved")
    enrolment.shared_secret(acme, activate=False)
    signing.forget()
    assert signing.keys_for("acme").signing.kid == covering.key_id


@pytest.mark.parametrize("withdraw", [withdrawal.suspend, withdrawal.compromise])
def test_what_becomes_of_a_retired_own_key_does_not_stop_a_merchant_on_a_meta_key(
    withdraw: Callable[..., Credential],
) -> None:
    _, account, acme = enrolment.family()
    covering = meta_key(account, "all")
    own = enrolment.shared_secret(acme)
    now = timezone.now()
    withdrawal.retire(own, actor="tests", now=now, reason="moved to the meta key")
    withdraw(own, actor="tests", now=now, reason="it leaked at last")
    signing.forget()
    assert signing.keys_for("acme").signing.kid == covering.key_id
    assert impact.dependents(covering, now=now) == [str(acme)]


def test_a_key_that_was_compromised_while_it_was_suspended_stops_the_search() -> None:
    _, account, acme = enrolment.family()
    meta_key(account, "all")
    own = enrolment.shared_secret(acme)
    for withdraw in (withdrawal.suspend, withdrawal.compromise):
        withdraw(own, actor="tests", now=timezone.now(), reason="doubt")
    signing.forget()
    with pytest.raises(KeyNotUsable, match="acme's own key"):
        signing.keys_for("acme")


@pytest.mark.parametrize("state", STOPS)
def test_no_other_own_slot_takes_over_from_the_newest_activation(state: State) -> None:
    acme, now = enrolment.organization(), timezone.now()
    enrolment.shared_secret(acme, slot="older", now=now - timedelta(days=1))
    newest = enrolment.shared_secret(acme, now=now)
    enrolment.put(newest, state)
    with pytest.raises(KeyNotUsable, match=f"{newest.key_id} is {state.value}"):
        signing.keys_for("acme")
    assert readiness_of(acme).missing[0].startswith(f"acme's own key: {newest.key_id}")


@pytest.mark.parametrize("state", STOPS)
def test_an_older_own_slot_that_may_not_be_used_does_not_stop_the_newest(
    state: State, caplog: pytest.LogCaptureFixture
) -> None:
    acme, now = enrolment.organization(), timezone.now()
    older = enrolment.shared_secret(acme, slot="older", now=now - timedelta(days=1))
    newest = enrolment.shared_secret(acme, now=now)
    enrolment.put(older, state)
    assert signing.keys_for("acme").signing.kid == newest.key_id
    assert not caplog.records


@pytest.mark.parametrize("state", STOPS)
def test_no_other_portfolios_key_takes_over_from_the_newest_that_selects(state: State) -> None:
    enrolment.organization("acme")
    now = timezone.now()
    for days, name in enumerate(["newer", "older"]):
        owner = enrolment.organization(name, kind="portfolio")
        key = meta_key(owner, "selected", "acme", now=now - timedelta(days=days))
        if name == "newer":
            enrolment.put(key, state)
    with pytest.raises(KeyNotUsable, match="meta keys that select it"):
        signing.keys_for("acme")


# Destroying hands nothing over


def withdrawn(key: Credential, *steps: str) -> Credential:
    for step in steps:
        act = getattr(withdrawal, step)
        key = act(key, actor="tests", now=timezone.now(), reason="stolen")
    signing.forget()
    return key


@pytest.mark.parametrize(
    "steps",
    [
        ("compromise", "destroy"),
        ("suspend", "compromise", "destroy"),
        ("suspend", "destroy"),
    ],
    ids=" ".join,
)
def test_an_own_key_destroyed_while_it_might_not_be_used_stops_the_search_until_it_is_released(
    steps: tuple[str, ...],
) -> None:
    _, account, acme = enrolment.family()
    covering = meta_key(account, "all")
    own = withdrawn(enrolment.shared_secret(acme), *steps)
    with pytest.raises(KeyNotUsable, match=f"{own.key_id} is DESTROYED.*cybs_keys release"):
        signing.keys_for("acme")
    withdrawn(own, "release")
    assert signing.keys_for("acme").signing.kid == covering.key_id


@pytest.mark.parametrize("steps", [("compromise", "destroy"), ("suspend", "destroy")])
def test_another_own_key_takes_its_place(steps: tuple[str, ...]) -> None:
    _, account, acme = enrolment.family()
    meta_key(account, "all")
    withdrawn(enrolment.shared_secret(acme), *steps)
    successor = enrolment.shared_secret(acme, activate=False)
    now = timezone.now()
    rotation.rotate(successor, actor="tests", now=now, force=True, reason="another")
    signing.forget()
    assert signing.keys_for("acme").signing.kid == successor.key_id
    withdrawn(successor, "retire")
    assert signing.keys_for("acme").signing.owner == "account"


def test_a_meta_key_destroyed_like_that_stops_the_search_too() -> None:
    portfolio, account, _ = enrolment.family()
    meta_key(portfolio, "all")
    nearer = withdrawn(meta_key(account, "all"), "compromise", "destroy")
    with pytest.raises(KeyNotUsable, match="account's meta key"):
        signing.keys_for("acme")
    withdrawn(nearer, "release")
    assert signing.keys_for("acme").signing.owner == "portfolio"


@pytest.mark.parametrize(
    "steps",
    [("retire", "destroy"), ("suspend", "retire", "destroy"), ("retire", "compromise", "destroy")],
    ids=" ".join,
)
def test_a_key_that_was_retired_before_it_was_destroyed_passes_to_the_next_level(
    steps: tuple[str, ...],
) -> None:
    _, account, acme = enrolment.family()
    covering = meta_key(account, "all")
    withdrawn(enrolment.shared_secret(acme), *steps)
    assert signing.keys_for("acme").signing.kid == covering.key_id


@pytest.mark.parametrize("steps", [("compromise", "destroy"), ("suspend", "destroy"), ("destroy",)])
def test_a_destroyed_key_that_was_never_in_use_stops_nothing(steps: tuple[str, ...]) -> None:
    _, account, acme = enrolment.family()
    covering = meta_key(account, "all")
    withdrawn(enrolment.shared_secret(acme, activate=False), *steps)
    assert signing.keys_for("acme").signing.kid == covering.key_id


@pytest.mark.parametrize(
    "steps", [(), ("suspend",), ("compromise",), ("retire",), ("retire", "destroy")], ids=" ".join
)
def test_only_what_still_stops_the_search_is_released(steps: tuple[str, ...]) -> None:
    key = withdrawn(enrolment.shared_secret(enrolment.organization()), *steps)
    with pytest.raises(InvalidTransition, match="what is released was destroyed"):
        withdrawn(key, "release")
    denied = KeyEvent.objects.filter(action="release", outcome="denied")
    assert denied.count() == 1


def test_a_release_is_audited_and_takes_a_reason() -> None:
    key = withdrawn(enrolment.shared_secret(enrolment.organization()), "compromise", "destroy")
    with pytest.raises(InvalidTransition, match="takes a reason"):
        withdrawal.release(key, actor="anna", now=timezone.now(), reason="")
    withdrawal.release(key, actor="anna", now=timezone.now(), reason="the portfolio's serves it")
    event = KeyEvent.objects.get(action="release", outcome="done")
    assert (event.actor, event.reason) == ("anna", "the portfolio's serves it")
    assert Credential.objects.get(pk=key.pk).state == State.DESTROYED
    with pytest.raises(InvalidTransition):
        withdrawal.release(key, actor="anna", now=timezone.now(), reason="again")


@pytest.mark.parametrize(
    ("steps", "cure"),
    [
        (("suspend",), "Resume it, activate another key there, or retire this one"),
        (("compromise",), "Import another key there and activate it"),
        (("compromise", "destroy"), "or let the next level sign: `manage.py cybs_keys release ID`"),
    ],
)
def test_the_cure_is_one_that_the_keys_state_allows(steps: tuple[str, ...], cure: str) -> None:
    withdrawn(enrolment.shared_secret(enrolment.organization()), *steps)
    with pytest.raises(KeyNotUsable) as caught:
        signing.keys_for("acme")
    assert cure in str(caught.value)
    assert ("retire this one" in str(caught.value)) is (steps == ("suspend",))


def test_an_older_suspended_key_of_the_same_slot_does_not_stop_its_successor() -> None:
    acme = enrolment.organization()
    older = enrolment.shared_secret(acme)
    newer = enrolment.shared_secret(acme, activate=False)
    enrolment.put(older, State.SUSPENDED)
    enrolment.put(newer, State.ACTIVE, activated_at=timezone.now())
    assert signing.keys_for("acme").signing.kid == newer.key_id


def test_of_two_active_keys_at_one_level_the_newest_activation_signs_with_a_warning(
    caplog: pytest.LogCaptureFixture,
) -> None:
    portfolio, _, _ = enrolment.family()
    now = timezone.now()
    meta_key(portfolio, "all", slot="a", now=now - timedelta(hours=2))
    newest = meta_key(portfolio, "all", slot="b", now=now)
    meta_key(portfolio, "all", slot="c", now=now - timedelta(hours=1))
    with caplog.at_level(logging.WARNING, logger="django_cybs_jwt"):
        assert signing.keys_for("acme").signing.kid == newest.key_id
    assert [record.getMessage() for record in caplog.records] == [
        "portfolio's meta key: 3 active keys, using the newest"
    ]


def test_two_selecting_slots_of_different_owners_are_one_level(
    caplog: pytest.LogCaptureFixture,
) -> None:
    enrolment.organization("acme")
    now = timezone.now()
    for days, name in enumerate(["newer", "older"]):
        owner = enrolment.organization(name, kind="portfolio")
        meta_key(owner, "selected", "acme", now=now - timedelta(days=days))
    with caplog.at_level(logging.WARNING, logger="django_cybs_jwt"):
        assert signing.keys_for("acme").signing.owner == "newer"
    assert "2 active keys" in caplog.text


def test_one_active_key_at_a_level_logs_nothing(caplog: pytest.LogCaptureFixture) -> None:
    enrolment.shared_secret(enrolment.organization())
    with caplog.at_level(logging.DEBUG, logger="django_cybs_jwt"):
        signing.keys_for("acme")
    assert caplog.records == []


def test_nothing_found_says_what_was_looked_at_and_the_cure() -> None:
    enrolment.family()
    with pytest.raises(NoKey) as caught:
        signing.keys_for("acme")
    assert (
        "Looked at: acme's own key, meta keys that select it, account's meta key, "
        "portfolio's meta key." in str(caught.value)
    )
    assert "cybs_import" in str(caught.value)


@pytest.mark.parametrize(("slot", "option"), [("", ""), ("eu", " --slot eu")])
def test_a_merchant_that_a_selecting_meta_key_leaves_out_is_told_who_can_choose_it(
    slot: str, option: str
) -> None:
    portfolio, _, acme = enrolment.family()
    enrolment.shared_secret(portfolio, covers="selected", slot=slot)
    with pytest.raises(NoKey) as caught:
        signing.keys_for("acme")
    assert f"`manage.py cybs_meta {portfolio} add {acme}{option}`" in str(caught.value)
    coverage.add(str(portfolio), [str(acme)], actor="tests", slot=slot)
    signing.forget()
    assert signing.keys_for("acme").signing.owner == "portfolio"


def test_under_a_meta_key_issuer_and_response_key_are_the_owners_the_merchant_stays() -> None:
    portfolio, _, acme = enrolment.family()
    signer = meta_key(portfolio, "all")
    response = enrolment.rsa_key(portfolio)
    enrolment.rsa_key(acme)
    signed = cybs.sign("acme", "GET", "/tss/v2/transactions/1")
    assert signed.claims["iss"] == "portfolio"
    assert signed.claims["v-c-merchant-id"] == "acme"
    assert signed.claims["v-c-response-mle-kid"] == response.key_id
    assert signed.key_id == signer.key_id
    assert set(signing.keys_for("acme").response_keys) == {response.key_id}


def test_with_an_own_key_issuer_and_response_key_are_the_merchants() -> None:
    portfolio, _, acme = enrolment.family()
    meta_key(portfolio, "all")
    enrolment.rsa_key(portfolio)
    enrolment.shared_secret(acme)
    response = enrolment.rsa_key(acme)
    signed = cybs.sign("acme", "GET", "/tss/v2/transactions/1")
    assert (signed.claims["iss"], signed.claims["v-c-merchant-id"]) == ("acme", "acme")
    assert signed.claims["v-c-response-mle-kid"] == response.key_id


def test_an_owner_without_a_response_key_announces_none() -> None:
    _, _, acme = enrolment.family()
    enrolment.shared_secret(acme)
    assert signing.keys_for("acme").response_kid is None


def test_under_a_meta_key_a_response_slot_that_covers_the_merchant_goes_before_the_plain_one() -> (
    None
):
    portfolio, _, _ = enrolment.family()
    meta_key(portfolio, "all")
    enrolment.rsa_key(portfolio, slot="own")
    covering = enrolment.rsa_key(
        portfolio, key=enrolment.material.rsa_key(name="second"), slot="meta", covers="all"
    )
    assert signing.keys_for("acme").response_kid == covering.key_id


@pytest.mark.parametrize("state", [State.SUSPENDED, State.COMPROMISED])
def test_replies_open_under_active_retiring_and_retired_keys_only(state: State) -> None:
    acme = enrolment.organization()
    enrolment.shared_secret(acme)
    names = {}
    for number, each in enumerate([state, State.RETIRED, State.RETIRING, State.ACTIVE]):
        key = enrolment.material.rsa_key(name=f"response {number}")
        row = enrolment.rsa_key(acme, key=key, slot=str(number))
        enrolment.put(row, each)
        names[each] = row.key_id
    found = signing.keys_for("acme").response_keys
    assert set(found) == {names[State.ACTIVE], names[State.RETIRING], names[State.RETIRED]}


def test_a_disabled_merchant_signs_nothing() -> None:
    enrolment.shared_secret(enrolment.organization())
    organizations.disable("acme", actor="tests")
    signing.forget()
    with pytest.raises(OrganizationInactive, match="acme@"):
        signing.keys_for("acme")


def test_a_disabled_owners_meta_key_signs_nothing() -> None:
    portfolio, _, _ = enrolment.family()
    meta_key(portfolio, "all")
    organizations.disable("portfolio", actor="tests")
    signing.forget()
    with pytest.raises(OrganizationInactive, match="portfolio@"):
        signing.keys_for("acme")


def test_an_id_on_several_hosts_is_named_with_its_host() -> None:
    for host in (HOST, OTHER_HOST):
        enrolment.shared_secret(enrolment.organization(host=host))
    with pytest.raises(OrganizationAmbiguous, match=f"acme@{HOST} or acme@{OTHER_HOST}"):
        signing.keys_for("acme")
    assert signing.keys_for(f"acme@{OTHER_HOST.upper()}").host == OTHER_HOST
    assert signing.keys_for(f"acme@{HOST}").host == HOST


@pytest.mark.parametrize("name", ["nobody", f"acme@{OTHER_HOST}", "", "@", "acme@", "ACME"])
def test_an_unknown_name_is_not_found(name: str) -> None:
    enrolment.organization()
    if name == "acme@":  # nothing behind the @ is no host: the plain name
        assert organizations.find(name).org_id == "acme"
        return
    with pytest.raises(OrganizationNotFound):
        signing.keys_for(name)


def test_live_is_refused_before_any_key_is_looked_for_or_opened(
    django_assert_num_queries: Any,
) -> None:
    acme = enrolment.organization(host=LIVE_HOST)
    with django_assert_num_queries(2), pytest.raises(LiveRefused, match=LIVE_HOST):
        signing.keys_for("acme")
    enrolment.change(enrolment.shared_secret(acme), sealed_secret=b"damaged")
    with pytest.raises(LiveRefused):
        signing.keys_for("acme")


def test_what_is_live_is_not_sent_in_clear_under_a_host_name_of_its_own_either(
    settings: Any,
) -> None:
    host = "pay.example.com"
    acme = organizations.add("acme", actor="alice", kind="merchant", host=host, live=True)
    enrolment.shared_secret(acme)
    plain = {host: "http://10.0.0.1:8080"}
    settings.CYBS_JWT = {**settings.CYBS_JWT, "LIVE": True, "BASE_URLS": plain}
    with pytest.raises(ConfigurationError, match="over http://"):
        cybs.sign("acme", "POST", "/pts/v2/payments", b"{}", mle=False)
    tls = {host: "https://10.0.0.1:8080"}
    settings.CYBS_JWT = {**settings.CYBS_JWT, "BASE_URLS": tls}
    assert cybs.sign("acme", "POST", "/pts/v2/payments", b"{}", mle=False).url.startswith("https")


def test_replies_are_not_opened_with_keys_that_never_serve_the_merchant() -> None:
    portfolio, account, acme = enrolment.family()
    enrolment.shared_secret(acme)
    own, covering = enrolment.rsa_key(portfolio), enrolment.rsa_key(account, covers="all")
    opening = {kid for keys in signing.reply_keys("acme") for kid in keys.response_keys}
    assert covering.key_id in opening
    assert own.key_id not in opening


@pytest.mark.parametrize("later", [{}, {"LIVE": False}])
def test_live_must_be_true_even_for_keys_that_are_in_memory(
    settings: Any, later: dict[str, bool]
) -> None:
    enrolment.shared_secret(enrolment.organization(host=LIVE_HOST))
    settings.CYBS_JWT = {**settings.CYBS_JWT, "LIVE": True}
    assert signing.keys_for("acme").host == LIVE_HOST
    ring = settings.CYBS_JWT["KEYRING"]
    settings.CYBS_JWT = {"KEYRING": ring, **later}
    with pytest.raises(LiveRefused):
        signing.keys_for("acme")
