"""Damage at every offset, and the table of hostile values B37 to B46."""

from __future__ import annotations

import re
from dataclasses import replace
from uuid import UUID, uuid4

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from django_cybs_jwt.exceptions import (
    KeyBlocked,
    KeyUnavailable,
    SealingError,
    SecretIntegrityError,
)
from django_cybs_jwt.sealing import KeyRing, kek_id_of, open_blob, seal
from tests.unit.sealing import spec_envelope
from tests.unit.sealing.sealing_samples import (
    HOME,
    MATERIAL,
    RING,
    SECRET,
    encoded,
    make_context,
    make_ring,
    ring_mapping,
)
from tests.unit.sealing.spec_envelope import Blob

BLOB = seal(SECRET, context=HOME, ring=RING)
BOUND = HOME.encode()
KEK_ID = range(6, 9)
KEK_ID_LENGTH = 5


def outcome(blob, *, context=HOME, ring=RING):
    """The class of what happens: an error, or bytes."""
    try:
        return type(open_blob(blob, context=context, ring=ring))
    except SealingError as error:
        return type(error)


def expected(mutant):
    """KeyUnavailable if the header still is one and names a key that the ring has not."""
    size = mutant[5]
    kek_id = mutant[6 : 6 + size]
    well_formed = (
        mutant[:5] == b"CJE1\x01"
        and re.fullmatch(rb"[A-Za-z0-9._-]{1,64}", kek_id)
        and len(mutant) > 6 + size + 32 + 32 + 12 + 48 + 12 + 16
        and kek_id.decode() not in RING.ids()
    )
    return KeyUnavailable if well_formed else SecretIntegrityError


def test_every_change_of_every_byte_is_an_error():
    for offset in range(len(BLOB)):
        for value in set(range(256)) - {BLOB[offset]}:
            mutant = BLOB[:offset] + bytes([value]) + BLOB[offset + 1 :]
            error = outcome(mutant)
            assert error is expected(mutant), (offset, value)
            if offset not in KEK_ID and offset != KEK_ID_LENGTH:
                assert error is SecretIntegrityError, (offset, value)


def test_only_a_change_in_the_key_id_can_make_the_key_unknown():
    mutant = BLOB.replace(b"CJE1\x01\x03new", b"CJE1\x01\x03neX", 1)

    assert outcome(mutant) is KeyUnavailable
    assert kek_id_of(mutant) == "neX"


def test_every_truncation_is_an_integrity_error():
    for end in range(len(BLOB)):
        assert outcome(BLOB[:end]) is SecretIntegrityError, end
        assert outcome(BLOB[len(BLOB) - end :]) is SecretIntegrityError, end


@pytest.mark.parametrize("byte", [b"\x00", b"\xff", b"A"])
def test_every_extension_is_an_integrity_error(byte):
    for size in range(1, 130):
        assert outcome(BLOB + byte * size) is SecretIntegrityError, size
        assert outcome(byte * size + BLOB) is SecretIntegrityError, size


def test_every_exchange_of_two_neighbours_is_an_error():
    for offset in range(len(BLOB) - 1):
        first, second = BLOB[offset : offset + 1], BLOB[offset + 1 : offset + 2]
        mutant = BLOB[:offset] + second + first + BLOB[offset + 2 :]
        if mutant != BLOB:
            assert outcome(mutant) is expected(mutant), offset


def test_every_part_of_another_blob_of_the_same_row_is_refused():
    """Old parts of one row cannot be mixed with new ones."""
    ours, theirs = Blob.split(BLOB), Blob.split(seal(b"older", context=HOME, ring=RING))

    for part in ("salt", "commitment", "wrap_nonce", "wrapped_key", "nonce", "sealed"):
        mixed = replace(ours, **{part: getattr(theirs, part)}).join()
        assert outcome(mixed) is SecretIntegrityError, part


@settings(max_examples=500, deadline=None, database=None)
@given(st.binary(max_size=300), st.sampled_from([b"", b"CJE1", b"CJE1\x01", b"CJE1\x01\x03new"]))
def test_arbitrary_bytes_are_a_sealing_error_and_never_another_exception(noise, start):
    assert outcome(start + noise) in {SecretIntegrityError, KeyUnavailable}


def crafted(kek_id=b"new", *, kek="new", wrap_bound=BOUND, payload_bound=BOUND, **odd):
    """A blob from somebody who holds the key: every tag is valid."""
    return spec_envelope.write(
        odd.pop("plaintext", SECRET),
        kek_id=kek_id,
        kek=MATERIAL[kek],
        wrap_bound=wrap_bound,
        payload_bound=payload_bound,
        **odd,
    )


def test_a_crafted_blob_without_anything_odd_opens():
    assert open_blob(crafted(), context=HOME, ring=RING) == SECRET


def elsewhere(**changes):
    return seal(SECRET, context=replace(HOME, **changes), ring=RING)


def overwritten(start, data):
    return BLOB[:start] + data + BLOB[start + len(data) :]


PARTS = Blob.split(BLOB)
HOSTILE = {
    "B37 from another owner": elsewhere(owner=uuid4()),
    "B37 from another row": elsewhere(row=uuid4()),
    "B37 from another field": elsewhere(field="sealed_p12"),
    "B37 from another kind of row": elsewhere(kind="outbound"),
    "B37 from live": elsewhere(live=True),
    "B38 plaintext": SECRET,
    "B38 plaintext of some length": SECRET * 50,
    "B38 empty": b"",
    "B38 NULL": None,
    "B38 a bare magic": b"CJE1",
    "B40 255 bytes of key id": crafted(b"n" * 255),
    "B40 65 bytes of key id": crafted(b"n" * 65),
    "B40 no key id": crafted(b""),
    "B40 a key id in UTF-8": crafted("n\u00e9w".encode()),
    "B40 a key id with a slash": crafted(b"a/b"),
    "B40 a key id with NUL": crafted(b"new\x00"),
    "B40 a key id with a newline": crafted(b"new\n"),
    "B40 the length runs past the end": BLOB[:5] + b"\xff" + BLOB[6:],
    "B40 the length is all there is": b"CJE1\x01\x40" + b"n" * 64,
    "B41 suite 0": overwritten(4, b"\x00"),
    "B41 suite 2": overwritten(4, b"\x02"),
    "B41 suite 255": overwritten(4, b"\xff"),
    "B41 magic of version 2": overwritten(0, b"CJE2"),
    "B41 commitment zeroed": replace(PARTS, commitment=bytes(32)).join(),
    "B41 commitment zeroed, tags valid": crafted(commitment=bytes(32)),
    "B41 commitment random, tags valid": crafted(commitment=MATERIAL["audit"]),
    "B41 tag of 12 bytes": BLOB[:-4],
    "B41 data key of 16 bytes": replace(PARTS, wrapped_key=PARTS.wrapped_key[16:]).join(),
    "B41 data key of 64 bytes": replace(PARTS, wrapped_key=PARTS.wrapped_key + bytes(32)).join(),
    "B43 names another key of the ring": replace(PARTS, kek_id=b"old").join(),
    "B43 sealed by another key of the ring": crafted(kek="old"),
    "B44 hex text": BLOB.hex(),
    "B44 hex as PostgreSQL prints it": "\\x" + BLOB.hex(),
    "B44 Base64 text": encoded(BLOB),
    "B44 a view on other data": memoryview(b"\\x" + BLOB.hex().encode()),
    "data key moved, payload bound elsewhere": crafted(payload_bound=make_context().encode()),
    "payload bound here, data key elsewhere": crafted(wrap_bound=make_context().encode()),
    "an empty secret with valid tags": crafted(plaintext=b""),
}


@pytest.mark.parametrize("blob", HOSTILE.values(), ids=HOSTILE)
def test_a_hostile_value_is_an_integrity_error(blob):
    assert outcome(blob) is SecretIntegrityError


MISSING = {
    "B40 an unknown key": (b"2019-01", KeyUnavailable),
    "B40 an unknown key of 64 bytes": (b"n" * 64, KeyUnavailable),
    "B40 an unknown key of one byte": (b".", KeyUnavailable),
    "B43 a blocked key": (b"shut", KeyBlocked),
}


@pytest.mark.parametrize(("kek_id", "error"), MISSING.values(), ids=MISSING)
def test_a_key_that_the_ring_does_not_give_out_is_an_error_of_its_own(kek_id, error):
    assert outcome(crafted(kek_id)) is error


def test_the_same_id_with_other_material_is_an_integrity_error():
    mapping = ring_mapping()
    new, old = mapping["keys"]["new"], mapping["keys"]["old"]
    new["key"], old["key"] = old["key"], new["key"]

    assert outcome(BLOB, ring=KeyRing.from_mapping(mapping)) is SecretIntegrityError


@pytest.mark.parametrize("view", [memoryview, lambda blob: memoryview(blob + b"x")[:-1]])
def test_b44_a_memoryview_is_read(view):
    assert open_blob(view(BLOB), context=HOME, ring=RING) == SECRET


def test_b44_a_view_with_steps_is_read_by_its_content():
    doubled = bytes(byte for byte in BLOB for _ in range(2))

    assert open_blob(memoryview(doubled)[::2], context=HOME, ring=RING) == SECRET


def test_b45_a_dumped_row_opens_wherever_it_is_loaded_with_its_uuids_and_nowhere_else():
    loaded = replace(HOME, owner=UUID(str(HOME.owner)), row=UUID(str(HOME.row)))

    assert open_blob(BLOB, context=loaded, ring=make_ring()) == SECRET
    assert outcome(BLOB, context=replace(loaded, owner=uuid4())) is SecretIntegrityError
    assert outcome(BLOB, context=replace(loaded, row=uuid4())) is SecretIntegrityError


def test_b46_an_older_blob_of_the_same_row_opens_so_the_audit_chain_must_tell():
    older, newer = (seal(secret, context=HOME, ring=RING) for secret in (b"older", b"newer"))

    assert open_blob(older, context=HOME, ring=RING) == b"older"
    assert open_blob(newer, context=HOME, ring=RING) == b"newer"
