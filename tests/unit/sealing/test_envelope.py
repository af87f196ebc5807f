from __future__ import annotations

from uuid import uuid4

import pytest
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305
from cryptography.hazmat.primitives.hashes import SHA3_512
from hypothesis import given
from hypothesis import strategies as st

from django_cybs_jwt.exceptions import (
    KeyBlocked,
    KeyUnavailable,
    SealingError,
    SecretIntegrityError,
)
from django_cybs_jwt.sealing import (
    MAX_PLAINTEXT,
    Context,
    envelope,
    kek_id_of,
    needs_rewrap,
    open_blob,
    rewrap,
    seal,
)
from tests.unit.sealing import spec_envelope
from tests.unit.sealing.sealing_samples import (
    HOME,
    MATERIAL,
    RING,
    SECRET,
    encoded,
    make_context,
    make_ring,
)
from tests.unit.sealing.spec_envelope import Blob

UNDER_OLD = seal(SECRET, context=HOME, ring=make_ring("old"))


@given(st.binary(min_size=1, max_size=5000))
def test_what_is_sealed_opens_unchanged(plaintext):
    blob = seal(plaintext, context=HOME, ring=RING)

    assert open_blob(blob, context=HOME, ring=RING) == plaintext


def test_the_largest_plaintext_opens_under_the_longest_id_and_one_byte_more_is_refused():
    plaintext = bytes(MAX_PLAINTEXT)

    blob = seal(plaintext, context=HOME, ring=RING)

    assert open_blob(blob, context=HOME, ring=RING) == plaintext
    with pytest.raises(SealingError, match="1048576 bytes"):
        seal(plaintext + b"x", context=HOME, ring=RING)


@pytest.mark.parametrize("kind", [bytes, bytearray, lambda blob: memoryview(blob).cast("H")])
def test_a_valid_blob_above_the_cap_is_refused_as_it_stands(kind):
    bound = HOME.encode()
    blob = spec_envelope.write(
        bytes(MAX_PLAINTEXT + 65),
        kek_id=b"new",
        kek=MATERIAL["new"],
        wrap_bound=bound,
        payload_bound=bound,
    )

    with pytest.raises(SecretIntegrityError) as caught:
        open_blob(kind(blob), context=HOME, ring=RING)

    assert caught.value.facts == {"part": "layout"}


@pytest.mark.parametrize("nothing", [b"", None, bytearray()])
def test_nothing_is_not_sealed(nothing):
    with pytest.raises(SealingError, match="empty"):
        seal(nothing, context=HOME, ring=RING)


@pytest.mark.parametrize("value", ["text", 7, ["x"], {"a": 1}, object()])
def test_only_bytes_are_sealed(value):
    with pytest.raises(SealingError, match="Bytes are sealed, not"):
        seal(value, context=HOME, ring=RING)


@pytest.mark.parametrize("kind", [bytearray, memoryview])
def test_bytes_are_sealed_whoever_holds_them(kind):
    assert open_blob(seal(kind(b"x"), context=HOME, ring=RING), context=HOME, ring=RING) == b"x"


def test_sealing_the_same_twice_shares_no_random_part():
    first, second = (Blob.split(seal(SECRET, context=HOME, ring=RING)) for _ in range(2))

    for part in ("salt", "commitment", "wrap_nonce", "wrapped_key", "nonce", "sealed"):
        assert getattr(first, part) != getattr(second, part)


def test_a_blob_is_162_bytes_and_its_key_id_longer_than_the_secret():
    blob = seal(SECRET, context=HOME, ring=RING)

    assert len(blob) == len(SECRET) + 158 + len("new")


def test_neither_secret_nor_context_nor_key_can_be_read_in_a_blob():
    blob = seal(SECRET, context=HOME, ring=RING)

    assert SECRET not in blob
    assert HOME.owner.bytes not in blob
    assert str(HOME.row).encode() not in blob
    assert MATERIAL["new"] not in blob


@pytest.mark.parametrize("kind", [bytes, bytearray, memoryview])
def test_every_form_of_bytes_a_database_driver_returns_is_read(kind):
    blob = kind(seal(SECRET, context=HOME, ring=RING))

    assert open_blob(blob, context=HOME, ring=RING) == SECRET
    assert kek_id_of(blob) == "new"
    assert not needs_rewrap(blob, RING)
    assert rewrap(blob, context=HOME, ring=RING) == bytes(blob)


@pytest.mark.parametrize(
    "value",
    [None, "", UNDER_OLD.hex(), encoded(UNDER_OLD), UNDER_OLD.decode("latin-1"), 0, 7, [], {}],
    ids=["None", "empty", "hex", "Base64", "Latin-1", "zero", "number", "list", "dictionary"],
)
@pytest.mark.parametrize(
    "use",
    [
        lambda blob: open_blob(blob, context=HOME, ring=RING),
        lambda blob: rewrap(blob, context=HOME, ring=RING),
        lambda blob: needs_rewrap(blob, RING),
        kek_id_of,
    ],
    ids=["open_blob", "rewrap", "needs_rewrap", "kek_id_of"],
)
def test_what_is_not_bytes_is_an_integrity_error(use, value):
    with pytest.raises(SecretIntegrityError):
        use(value)


def test_a_key_that_is_not_in_the_ring_is_named_and_is_not_an_integrity_error():
    with pytest.raises(KeyUnavailable, match="'old' is not in the ring") as caught:
        open_blob(UNDER_OLD, context=HOME, ring=make_ring(without="old"))

    assert caught.value.facts == {"kek_id": "old"}
    assert not isinstance(caught.value, SecretIntegrityError)


def test_a_blocked_key_opens_nothing_and_opens_again_when_it_is_released():
    with pytest.raises(KeyBlocked, match="'old' is blocked"):
        open_blob(UNDER_OLD, context=HOME, ring=make_ring(old="blocked"))

    assert open_blob(UNDER_OLD, context=HOME, ring=make_ring(old="decrypt_only")) == SECRET


def test_an_integrity_error_says_the_same_for_every_cause_and_keeps_the_part_in_its_facts():
    payload = bytearray(UNDER_OLD)
    payload[-1] ^= 1
    causes = [(b"plaintext", HOME), (UNDER_OLD, make_context()), (bytes(payload), HOME)]

    errors = []
    for blob, context in causes:
        with pytest.raises(SecretIntegrityError) as caught:
            open_blob(blob, context=context, ring=RING)
        errors.append(caught.value)

    assert len({str(error) for error in errors}) == 1
    assert [error.facts["part"] for error in errors] == ["layout", "data key", "payload"]


def test_a_blob_needs_a_rewrap_exactly_while_it_names_another_key_than_the_primary():
    assert needs_rewrap(UNDER_OLD, make_ring("new"))
    assert not needs_rewrap(UNDER_OLD, make_ring("old"))


def test_a_rewrap_changes_the_wrapped_key_and_no_byte_of_the_rest():
    moved = rewrap(UNDER_OLD, context=HOME, ring=make_ring("new", old="decrypt_only"))

    before, after = Blob.split(UNDER_OLD), Blob.split(moved)
    assert (before.salt, before.commitment) == (after.salt, after.commitment)
    assert (before.nonce, before.sealed) == (after.nonce, after.sealed)
    assert (before.kek_id, after.kek_id) == (b"old", b"new")
    assert before.wrap_nonce != after.wrap_nonce
    assert before.wrapped_key != after.wrapped_key


def test_a_rewrapped_blob_opens_without_the_older_key_and_only_in_its_own_row():
    moved = rewrap(UNDER_OLD, context=HOME, ring=make_ring())
    ring = make_ring(without="old")

    assert open_blob(moved, context=HOME, ring=ring) == SECRET
    with pytest.raises(SecretIntegrityError):
        open_blob(moved, context=make_context(), ring=ring)


def test_a_rewrap_for_another_row_moves_nothing():
    with pytest.raises(SecretIntegrityError):
        rewrap(UNDER_OLD, context=make_context(), ring=RING)


def test_a_blob_under_the_primary_is_checked_by_a_rewrap_too():
    blob = bytearray(seal(SECRET, context=HOME, ring=RING))
    blob[-60] ^= 1  # in the wrapped key

    with pytest.raises(SecretIntegrityError):
        rewrap(blob, context=HOME, ring=RING)


@pytest.mark.parametrize(
    ("ring", "error"),
    [
        (make_ring(old="blocked"), KeyBlocked),
        (make_ring(without="old"), KeyUnavailable),
    ],
    ids=["blocked", "absent"],
)
def test_a_rewrap_needs_the_older_key(ring, error):
    with pytest.raises(error):
        rewrap(UNDER_OLD, context=HOME, ring=ring)


def test_a_second_suite_is_one_entry_that_leaves_older_blobs_readable(monkeypatch):
    second = envelope.Suite(2, ChaCha20Poly1305, SHA3_512())
    monkeypatch.setattr(envelope, "SUITES", envelope.SUITES | {2: second})
    monkeypatch.setattr(envelope, "CURRENT", 2)

    blob = seal(SECRET, context=HOME, ring=make_ring("old"))

    assert (blob[4], UNDER_OLD[4]) == (2, 1)
    for sealed in (blob, UNDER_OLD):
        moved = rewrap(sealed, context=HOME, ring=RING)
        assert moved[4] == sealed[4]
        assert open_blob(moved, context=HOME, ring=RING) == SECRET
    with pytest.raises(SecretIntegrityError):
        open_blob(blob[:4] + b"\x01" + blob[5:], context=HOME, ring=RING)


@pytest.mark.parametrize("field", ["owner", "row"])
@pytest.mark.parametrize("value", [None, 7, str(HOME.row)], ids=["None", "int", "str"])
def test_a_context_takes_uuids_only_so_that_an_unsaved_row_has_none(field, value):
    facts = {"live": True, "kind": "k", "owner": uuid4(), "row": uuid4(), "field": "f"}

    with pytest.raises(SealingError, match="UUID"):
        Context(**(facts | {field: value}))


@pytest.mark.parametrize("value", [None, 1, "test"])
def test_a_context_is_live_or_not_and_nothing_between(value):
    with pytest.raises(SealingError, match="live=True or live=False"):
        make_context(live=value)


@pytest.mark.parametrize("text", ["x" * 65536, "é" * 32768, "\ud800"], ids=len)
@pytest.mark.parametrize("field", ["kind", "field"])
def test_a_context_that_cannot_be_encoded_is_refused(field, text):
    with pytest.raises(SealingError, match="65535 bytes"):
        seal(SECRET, context=make_context(**{field: text}), ring=RING)
