"""What is not a legal ring is refused, and no message repeats a key."""

from __future__ import annotations

import base64
import hashlib
import json
import os

import pytest

from django_cybs_jwt.exceptions import KeyRingError
from django_cybs_jwt.sealing import KeyRing
from tests.unit.sealing.sealing_samples import (
    MATERIAL,
    encoded,
    ring_mapping,
    with_id,
    with_key,
    with_value,
    without,
)

BELOW_64 = bytes(range(64))
URL_SAFE = base64.urlsafe_b64encode(b"\xfb\xef\xbe" * 5 + os.urandom(17)).decode()


REFUSED = {
    "a list": ([], "not an object"),
    "a text": ("ring", "not an object"),
    "nothing": (None, "not an object"),
    "no primary": (without("primary"), "must have the members primary, keys"),
    "no keys": (without("keys"), "must have the members"),
    "no index key": (without("index_key"), "must have the members"),
    "no audit key": (without("audit_key"), "must have the members"),
    "an unknown member": (with_value("kek", value="x"), "no others"),
    "keys in a list": (with_value("keys", value=[]), '"keys" is not an object'),
    "an empty ring": (with_value("keys", value={}), "names no key"),
    "a key that is text": (with_value("keys", "old", value="x"), "keys.old is not an object"),
    "a key without material": (without("keys", "old", "key"), "keys.old must have the members"),
    "a key without status": (without("keys", "old", "status"), "keys.old must have the members"),
    "an unknown member of a key": (with_value("keys", "old", "kid", value=1), "no others"),
    "an empty id": (with_id(""), "1 to 64"),
    "an id of 65 characters": (with_id("x" * 65), "1 to 64"),
    "an id with a slash": (with_id("a/b"), "1 to 64"),
    "an id with a space": (with_id("a b"), "1 to 64"),
    "an id with a newline": (with_id("a\n"), "1 to 64"),
    "an id outside ASCII": (with_id("k\u00e9"), "1 to 64"),
    "an id of other digits": (with_id("\u0661"), "1 to 64"),
    "an id that is a number": (with_id(7), "1 to 64"),
    "an unknown primary": (with_value("primary", value="2019"), "names no key"),
    "a primary that is no text": (with_value("primary", value=["new"]), "names no key"),
    "a primary for decryption": (ring_mapping("old", old="decrypt_only"), "'old' is not enabled"),
    "a blocked primary": (ring_mapping("shut"), "'shut' is not enabled"),
    "an unknown status": (ring_mapping(old="active"), "enabled, decrypt_only, blocked"),
    "a status in capitals": (ring_mapping(old="ENABLED"), "status of keys.old"),
    "a status that is no text": (ring_mapping(old=["enabled"]), "status of keys.old"),
    "no date": (with_value("keys", "old", "created", value="soon"), "keys.old.created"),
    "a date as a number": (with_value("keys", "old", "created", value=20261122), "like 2026"),
    "31 bytes": (with_key(os.urandom(31)), "keys.old.key is not 32 bytes"),
    "33 bytes": (with_key(os.urandom(33)), "keys.old.key is not 32 bytes"),
    "no bytes": (with_key(b""), "keys.old.key is not 32 bytes"),
    "an index key of 31 bytes": (with_key(os.urandom(31), "index_key"), "index_key is not 32"),
    "an audit key of 64 bytes": (with_key(os.urandom(64), "audit_key"), "audit_key is not 32"),
    "material that is a number": (with_value("index_key", value=7), "index_key is not 32"),
    "material in bytes": (with_value("index_key", value=MATERIAL["index"]), "index_key is not"),
    "URL-safe Base64": (with_value("index_key", value=URL_SAFE), "standard Base64"),
    "Base64 without padding": (
        with_value("index_key", value=encoded(MATERIAL["index"])[:-1]),
        "standard Base64",
    ),
    "Base64 with a newline": (
        with_value("index_key", value=encoded(MATERIAL["index"]) + "\n"),
        "standard Base64",
    ),
    "Base64 with unused bits": (
        with_value("index_key", value=encoded(bytes(32))[:-2] + "B="),
        "standard Base64",
    ),
    "hexadecimal": (with_value("index_key", value=MATERIAL["index"].hex()), "standard Base64"),
    "not ASCII": (with_value("index_key", value="\u00e9" * 44), "standard Base64"),
    "zeros": (with_key(bytes(32)), "keys.old is a pattern"),
    "one repeated byte": (with_key(b"\xa7" * 32), "keys.old is a pattern"),
    "an ascending run": (with_key(BELOW_64[20:52]), "keys.old is a pattern"),
    "a descending run": (with_key(BELOW_64[::-1][:32]), "keys.old is a pattern"),
    "a run over the edge": (with_key(bytes((i * 7 + 100) % 256 for i in range(32))), "a pattern"),
    "16 bytes twice": (with_key(hashlib.md5(b"x").digest() * 2), "a pattern"),  # noqa: S324
    "a passphrase": (with_key(b"Correct-horse_battery:staple 123"), "or a text"),
    "a passphrase and the newline of echo": (
        with_key(b"correct horse battery staple my\n"),
        "a text",
    ),
    "a passphrase with an umlaut": (with_key("pässword-pässword-my-dear-frie".encode()), "a text"),
    "a passphrase in UTF-16": (with_key("Quick-brown-Fox!".encode("utf-16-le")), "a pattern or"),
    "hexadecimal digits as bytes": (with_key(os.urandom(16).hex().encode()), "a pattern or"),
    "a pattern as index key": (with_key(bytes(32), "index_key"), "index_key is a pattern"),
    "a pattern as audit key": (with_key(bytes(32), "audit_key"), "audit_key is a pattern"),
    "one key under two ids": (with_key(MATERIAL["new"]), "keys.old and keys.new are the same"),
    "a key as index key": (with_key(MATERIAL["new"], "index_key"), "index_key and keys.new are"),
    "a key as audit key": (with_key(MATERIAL["shut"], "audit_key"), "audit_key and keys.shut"),
    "one key for index and audit": (
        with_key(MATERIAL["index"], "audit_key"),
        "audit_key and index_key are the same",
    ),
}


@pytest.mark.parametrize(("mapping", "message"), REFUSED.values(), ids=REFUSED)
def test_a_ring_that_is_not_legal_is_refused_and_the_message_says_where(mapping, message):
    with pytest.raises(KeyRingError) as caught:
        KeyRing.from_mapping(mapping)

    assert message in str(caught.value)
    assert_nothing_leaks(caught.value, mapping)


def as_json(value):
    """*value* in JSON, None where JSON cannot say it."""
    try:
        text = json.dumps(value)
    except TypeError:
        return None
    return text if json.loads(text) == value else None


SAID_IN_JSON = {name: text for name, (value, _) in REFUSED.items() if (text := as_json(value))}


@pytest.mark.parametrize("text", SAID_IN_JSON.values(), ids=SAID_IN_JSON)
def test_the_same_ring_is_refused_from_json(text):
    with pytest.raises(KeyRingError):
        KeyRing.from_json(text)


def assert_nothing_leaks(error, mapping):
    """No text of the ring that could be a key is in the error or in what it came from."""
    said = "".join(
        f"{part!s}{part!r}{getattr(part, 'doc', '')}{getattr(part, 'object', '')}"
        for part in (error, error.facts, error.__cause__, error.__context__)
    )
    for text in texts_of(mapping):
        assert len(text) < 20 or text not in said
    for material in MATERIAL.values():
        assert material.hex() not in said
        assert encoded(material) not in said


def texts_of(value):
    if isinstance(value, dict):
        for name, member in value.items():
            yield str(name)
            yield from texts_of(member)
    else:
        yield str(value)


@pytest.mark.parametrize(
    "mapping",
    [
        ring_mapping(old=encoded(MATERIAL["audit"])),
        with_value("primary", value=encoded(MATERIAL["new"])),
        with_value(encoded(MATERIAL["new"]), value="x"),
        with_value("keys", encoded(MATERIAL["new"]), value={}),
        with_value("keys", "old", encoded(MATERIAL["new"]), value="x"),
        with_value("keys", "old", "created", value=encoded(MATERIAL["old"])),
    ],
    ids=["status", "primary", "member", "id", "member of a key", "date"],
)
def test_a_key_in_the_wrong_place_is_not_repeated(mapping):
    with pytest.raises(KeyRingError) as caught:
        KeyRing.from_mapping(mapping)

    assert_nothing_leaks(caught.value, mapping)


LEGAL = json.dumps(ring_mapping())
DUPLICATED = {
    "of the ring": LEGAL[:-1] + f', "index_key": "{encoded(os.urandom(32))}"}}',
    "of the keys": LEGAL.replace('"keys": {', '"keys": {"new": {}, '),
    "of a key": LEGAL.replace('"status": "blocked"', '"status": "blocked", "status": "enabled"'),
}


@pytest.mark.parametrize("text", DUPLICATED.values(), ids=DUPLICATED)
def test_a_member_that_json_gives_twice_is_refused(text):
    assert isinstance(json.loads(text), dict)

    with pytest.raises(KeyRingError, match="given twice") as caught:
        KeyRing.from_json(text)

    assert_nothing_leaks(caught.value, ring_mapping())


@pytest.mark.parametrize(
    "text",
    ["", "ring", LEGAL[:-1], LEGAL + "}", b"\xff\xfe\xff", LEGAL.encode() + b"\xe9", "[" * 10**6],
    ids=["empty", "word", "cut", "longer", "noise", "not UTF-8", "deep"],
)
def test_what_is_not_json_is_refused_and_the_parser_s_copy_of_the_ring_is_dropped(text):
    with pytest.raises(KeyRingError, match="not valid JSON") as caught:
        KeyRing.from_json(text)

    assert caught.value.__cause__ is None
    assert caught.value.__context__ is None


@pytest.mark.parametrize("text", ["null", "[]", '"ring"', "1", "{}"])
def test_json_that_is_not_a_ring_is_refused(text):
    with pytest.raises(KeyRingError):
        KeyRing.from_json(text)
