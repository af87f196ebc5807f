from __future__ import annotations

import base64
import copy
import hashlib
import json
import os
import pickle
from datetime import date

import pytest

from django_cybs_jwt.exceptions import KeyBlocked, KeyRingError, KeyUnavailable
from django_cybs_jwt.randomness import looks_random
from django_cybs_jwt.sealing import KeyRing
from tests.unit.sealing.sealing_samples import (
    MATERIAL,
    encoded,
    make_ring,
    ring_mapping,
    with_id,
    with_key,
    with_value,
    without,
)

LEGAL = json.dumps(ring_mapping())


@pytest.mark.parametrize("form", [str, str.encode])
def test_a_ring_is_read_from_json_in_text_and_in_bytes(form):
    ring = KeyRing.from_json(form(LEGAL))

    assert ring.primary_id == "new"
    assert ring.ids() == ("new", "old", "shut")


@pytest.mark.parametrize("kek_id", ["k", "x" * 64, "2026-11", "a.b_c-D", "."])
def test_every_id_of_the_allowed_form_is_read(kek_id):
    ring = KeyRing.from_mapping(with_id(kek_id))

    assert kek_id in ring.ids()


def test_a_ring_tells_status_and_day_of_each_key():
    ring = KeyRing.from_mapping(with_value("keys", "old", "created", value="2026-11-22"))

    assert [ring.status(kek_id) for kek_id in ring.ids()] == ["enabled", "enabled", "blocked"]
    assert ring.created("old") == date(2026, 11, 22)
    assert ring.created("new") is None


def test_a_key_is_given_out_unless_it_is_blocked_or_absent():
    ring = make_ring(old="decrypt_only")

    assert ring.kek("new") == MATERIAL["new"]
    assert ring.kek("old") == MATERIAL["old"]
    with pytest.raises(KeyBlocked, match="'shut' is blocked"):
        ring.kek("shut")
    with pytest.raises(KeyUnavailable, match="'2019' is not in the ring"):
        ring.kek("2019")


@pytest.mark.parametrize("ask", [KeyRing.status, KeyRing.created, KeyRing.fingerprint])
def test_questions_about_a_key_are_answered_for_a_blocked_one_and_not_for_an_absent_one(ask):
    ring = make_ring()

    ask(ring, "shut")
    with pytest.raises(KeyUnavailable):
        ask(ring, "2019")


def test_changing_the_mapping_afterwards_changes_nothing():
    mapping = ring_mapping()
    ring = KeyRing.from_mapping(mapping)

    mapping["keys"]["new"]["status"] = "blocked"
    mapping["keys"].clear()

    assert ring.kek("new") == MATERIAL["new"]


def test_a_generated_ring_is_legal_new_and_survives_its_own_json():
    first = KeyRing.generate("2026-11", created=date(2026, 11, 22))
    second = KeyRing.generate("2026-11")

    again = KeyRing.from_json(first.to_json())

    assert again.to_json() == first.to_json()
    assert (again.primary_id, again.ids()) == ("2026-11", ("2026-11",))
    assert again.created("2026-11") == date(2026, 11, 22)
    assert again.kek("2026-11") == first.kek("2026-11") != second.kek("2026-11")
    assert first.index_key("x") != second.index_key("x")
    assert first.audit_key() != second.audit_key()


def test_json_keeps_status_and_order_of_every_key():
    ring = make_ring(old="decrypt_only")

    assert json.loads(ring.to_json()) == ring_mapping(old="decrypt_only")
    assert KeyRing.from_json(ring.to_json()).ids() == ring.ids()


@pytest.mark.parametrize("kek_id", ["", "x" * 65, "a/b", "k\u00e9", None])
def test_no_ring_is_generated_under_an_id_that_could_not_be_read_back(kek_id):
    with pytest.raises(KeyRingError, match="1 to 64"):
        KeyRing.generate(kek_id)


def test_random_keys_are_never_taken_for_a_pattern():
    assert all(looks_random(os.urandom(32)) for _ in range(20_000))


def test_keys_for_different_purposes_are_unrelated_and_stable():
    ring = make_ring()
    purposes = ("secret-fingerprint", "idempotency", "transaction-id", "")

    keys = [ring.index_key(purpose) for purpose in purposes] + [ring.audit_key()]

    assert len({*keys, *MATERIAL.values()}) == len(keys) + len(MATERIAL)
    assert {len(key) for key in keys} == {32}
    assert ring.index_key("idempotency") == ring.index_key(b"idempotency")


def test_index_and_audit_key_outlive_every_kek():
    before = make_ring()
    mapping = with_id("2027-11") | {"primary": "2027-11"}
    for kek_id in ("new", "old", "shut"):
        del mapping["keys"][kek_id]
    after = KeyRing.from_mapping(mapping)

    assert after.index_key("idempotency") == before.index_key("idempotency")
    assert after.audit_key() == before.audit_key()


def test_a_fingerprint_depends_on_the_material_alone_and_shows_nothing_of_it():
    ring = make_ring()
    mapping = without("keys", "old")
    mapping["keys"]["renamed"] = {"key": encoded(MATERIAL["old"]), "status": "blocked"}
    renamed = KeyRing.from_mapping(mapping)

    fingerprint = ring.fingerprint("old")

    assert renamed.fingerprint("renamed") == fingerprint != ring.fingerprint("new")
    assert len(bytes.fromhex(fingerprint)) == 8
    assert fingerprint not in MATERIAL["old"].hex()
    assert not hashlib.sha256(MATERIAL["old"]).hexdigest().startswith(fingerprint)


# As 32 bytes of text alone it would be refused for that.
SECRET_KEY = "\x1b" + "".join(chr(33 + 37 * step % 94) for step in range(31))
SEED = os.urandom(32)


@pytest.mark.parametrize("slot", [("keys", "shut", "key"), ("index_key",), ("audit_key",)])
@pytest.mark.parametrize(
    ("secret_key", "material"),
    [
        (SECRET_KEY, SECRET_KEY.encode()),
        (SECRET_KEY, hashlib.sha256(SECRET_KEY.encode()).digest()),
        (encoded(SEED), SEED),
        (encoded(SEED).rstrip("="), SEED),
        (base64.urlsafe_b64encode(SEED).decode(), SEED),
        (base64.urlsafe_b64encode(SEED).decode().rstrip("="), SEED),
    ],
    ids=["as it is", "SHA-256", "Base64", "unpadded", "URL-safe", "URL-safe unpadded"],
)
def test_a_ring_made_of_the_secret_key_is_recognised(slot, secret_key, material):
    ring = KeyRing.from_mapping(with_key(material, *slot))

    assert ring.equals_or_derives(secret_key)
    assert not make_ring().equals_or_derives(secret_key)


@pytest.mark.parametrize("secret_key", ["", "x", "NOTASECRET", "=", "\u00e9" * 50])
def test_any_other_secret_key_is_fine(secret_key):
    assert not make_ring().equals_or_derives(secret_key)


@pytest.mark.parametrize(
    "show",
    [repr, str, format, "{0!r:>40}".format, "%s".__mod__, ascii],
    ids=["repr", "str", "format", "str.format", "percent", "ascii"],
)
def test_a_ring_shows_nothing_of_itself(show):
    assert show(make_ring()).strip() == "<KeyRing redacted>"


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_a_ring_is_not_pickled(protocol):
    with pytest.raises(TypeError, match="never pickled"):
        pickle.dumps(make_ring(), protocol)


@pytest.mark.parametrize(
    "give_away",
    [copy.copy, copy.deepcopy, json.dumps, vars, iter, dict, bytes, KeyRing.__getstate__],
)
def test_a_ring_is_not_copied_listed_or_serialised(give_away):
    with pytest.raises(TypeError) as caught:
        give_away(make_ring())

    assert_nothing_leaks_in(str(caught.value))


def test_what_is_inside_a_ring_shows_nothing_either():
    """A debugger's or an error tracker's view of the attributes."""
    ring = make_ring()

    assert_nothing_leaks_in(repr(ring._keks))


def assert_nothing_leaks_in(text):
    for material in MATERIAL.values():
        assert repr(material) not in text
        assert encoded(material) not in text
