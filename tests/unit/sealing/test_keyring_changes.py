"""A ring is changed into another ring, and its file into another file, whole or not at all."""

from __future__ import annotations

import os
import resource
import stat
import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import date

import pytest

from django_cybs_jwt.exceptions import KeyBlocked, KeyRingError, KeyUnavailable
from django_cybs_jwt.sealing import (
    KeyRing,
    Status,
    beginnings,
    kek_id_of,
    open_blob,
    payload_digest,
    rewrap,
    ring_file,
    seal,
)
from tests.unit.sealing.sealing_samples import HOME, make_ring


def sealed(ring, secret=b"secret"):
    return seal(secret, context=HOME, ring=ring)


def opened(blob, ring):
    return open_blob(blob, context=HOME, ring=ring)


def lasting_keys(ring):
    return ring.audit_key(), ring.index_key("fingerprint")


# -- a new key --


def test_a_new_key_opens_and_does_not_seal_yet():
    ring = make_ring()

    after = ring.with_new("next", created=date(2026, 11, 22))

    assert kek_id_of(sealed(after)) == ring.primary_id
    assert after.status("next") is Status.DECRYPT_ONLY
    assert after.created("next") == date(2026, 11, 22)
    assert opened(sealed(after.promoted("next")), after) == b"secret"


def test_every_other_key_stays_what_it_was():
    ring = make_ring()

    after = ring.with_new("next")

    assert lasting_keys(after) == lasting_keys(ring)
    assert after.ids() == (*ring.ids(), "next")
    for kek_id in ring.ids():
        assert after.fingerprint(kek_id) == ring.fingerprint(kek_id)
        assert after.status(kek_id) is ring.status(kek_id)
    assert "next" not in ring.ids(), "the ring itself does not change"


def test_two_new_keys_are_not_the_same_key():
    ring = make_ring()

    assert ring.with_new("x").fingerprint("x") != ring.with_new("x").fingerprint("x")


@pytest.mark.parametrize("kek_id", ["new", "old", "shut"])
def test_an_id_is_never_given_twice(kek_id):
    with pytest.raises(KeyRingError, match="Choose another id"):
        make_ring().with_new(kek_id)


@pytest.mark.parametrize("kek_id", ["", "a b", "x" * 65, "../ring", "ключ"])
def test_an_illegal_id_is_refused(kek_id):
    with pytest.raises(KeyRingError, match="1 to 64"):
        make_ring().with_new(kek_id)


# -- another primary, another status --


def test_the_promoted_key_seals_and_the_one_before_it_still_opens():
    ring = make_ring("new")
    before = sealed(ring)

    after = ring.promoted("old")

    assert after.primary_id == "old"
    assert (after.status("old"), after.status("new")) == (Status.ENABLED, Status.DECRYPT_ONLY)
    assert kek_id_of(sealed(after)) == "old"
    assert opened(before, after) == b"secret"
    assert lasting_keys(after) == lasting_keys(ring)


def test_a_promotion_can_be_taken_back():
    ring = make_ring("new")

    again = ring.promoted("old").promoted("new")

    assert again.primary_id == "new"
    assert opened(sealed(ring.promoted("old")), again) == b"secret"


def test_promoting_the_primary_changes_nothing():
    ring = make_ring()

    assert ring.promoted(ring.primary_id).to_json() == ring.to_json()


@pytest.mark.parametrize(("kek_id", "error"), [("shut", KeyBlocked), ("lost", KeyUnavailable)])
def test_a_blocked_or_missing_key_is_not_promoted(kek_id, error):
    with pytest.raises(error, match=kek_id):
        make_ring().promoted(kek_id)


def test_a_blocked_key_opens_nothing_until_it_is_unblocked():
    ring = make_ring("old")
    blob = sealed(ring)

    blocked = ring.promoted("new").with_status("old", Status.BLOCKED)

    with pytest.raises(KeyBlocked):
        opened(blob, blocked)
    assert opened(blob, blocked.with_status("old", Status.DECRYPT_ONLY)) == b"secret"


@pytest.mark.parametrize("status", [Status.BLOCKED, Status.DECRYPT_ONLY])
def test_the_primary_stays_enabled(status):
    with pytest.raises(KeyRingError, match="make another key the primary"):
        make_ring("new").with_status("new", status)


# -- what a rewrap keeps --


def test_the_payload_digest_outlives_a_rewrap_and_tells_two_blobs_of_one_secret_apart():
    ring = make_ring("new")
    first, second = sealed(ring), sealed(ring)

    moved = rewrap(first, context=HOME, ring=ring.promoted("old"))

    assert moved != first
    assert payload_digest(moved) == payload_digest(first)
    assert payload_digest(second) != payload_digest(first)


def test_the_payload_digest_covers_every_byte_of_the_payload():
    blob = sealed(make_ring("new"))
    first = payload_digest(blob)
    start = 6 + len("new")
    kept = [*range(start, start + 64), *range(start + 124, len(blob))]

    for at in kept:
        changed = blob[:at] + bytes([blob[at] ^ 1]) + blob[at + 1 :]
        assert payload_digest(changed) != first


def test_a_blob_begins_as_its_key_says_and_as_no_other_keys_blob():
    ring = make_ring("new").with_new("newer")

    assert any(sealed(ring).startswith(start) for start in beginnings("new"))
    assert not any(sealed(ring).startswith(start) for start in beginnings("newer"))
    longer = sealed(ring.promoted("newer"))
    assert not any(longer.startswith(start) for start in beginnings("new"))


# -- the file --


@pytest.fixture
def path(tmp_path):
    path = tmp_path / "ring.json"
    ring_file.write_new(path, make_ring())
    return path


def add(kek_id):
    return lambda ring: ring.with_new(kek_id)


def mode_of(path):
    return stat.S_IMODE(path.stat().st_mode)


def alone(path):
    """The file is all there is in its folder: no draft with keys in it is left."""
    return [item.name for item in path.parent.iterdir()] == [path.name]


def test_a_changed_file_holds_the_ring_that_is_returned(path):
    ring = ring_file.change(path, add("next"))

    assert "next" in ring.ids()
    assert ring_file.read(path).to_json() == ring.to_json()
    assert alone(path)


@pytest.mark.parametrize(
    ("before", "after"), [(0o600, 0o600), (0o640, 0o640), (0o644, 0o640), (0o666, 0o660)], ids=oct
)
def test_owner_and_group_keep_their_access_and_others_get_none(path, before, after):
    path.chmod(before)

    ring_file.change(path, add("next"))

    assert mode_of(path) == after


@pytest.mark.skipif(os.geteuid() != 0, reason="Only root gives files away.")
def test_a_file_of_another_user_stays_that_users(path):
    os.chown(path, 12345, 23456)

    ring_file.change(path, add("next"))

    assert (path.stat().st_uid, path.stat().st_gid) == (12345, 23456)


def test_a_change_that_fails_leaves_the_file_and_nothing_else(path):
    before = path.read_bytes()

    with pytest.raises(KeyUnavailable):
        ring_file.change(path, lambda ring: ring.promoted("lost"))

    assert path.read_bytes() == before
    assert alone(path)


def test_a_full_disk_leaves_the_file_and_nothing_else(path):
    before = path.read_bytes()
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (40, hard))
    try:
        with pytest.raises(OSError, match="too large"):
            ring_file.change(path, add("next"))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))

    assert path.read_bytes() == before
    assert alone(path)


def test_a_missing_file_is_not_made(tmp_path):
    with pytest.raises(KeyRingError, match="cybs_keyring generate"):
        ring_file.change(tmp_path / "ring.json", add("next"))

    assert list(tmp_path.iterdir()) == []


def test_a_draft_that_was_cut_off_is_named_and_harms_no_reader(path):
    draft = path.with_name("ring.json.new")
    draft.write_text('{"primary": ')
    before = path.read_bytes()

    with pytest.raises(KeyRingError, match=str(draft)):
        ring_file.change(path, add("next"))

    assert path.read_bytes() == before
    assert draft.exists(), "it may belong to somebody who is at work"
    assert ring_file.read(path).primary_id == "new"


def test_a_link_stays_a_link_and_its_target_changes(path, tmp_path):
    link = tmp_path / "link.json"
    link.symlink_to(path)

    ring_file.change(link, add("next"))

    assert link.is_symlink()
    assert "next" in ring_file.read(path).ids()


def test_changes_at_once_lose_no_key_and_a_reader_always_finds_a_whole_ring(path):
    """Two that read the same ring would write two rings, each without the other's key."""
    done, refusals = threading.Event(), set()

    def add_until_it_works(number):
        while True:
            try:
                return ring_file.change(path, add(f"key{number}"))
            except KeyRingError as error:
                refusals.add(str(error))

    def read_until_done():
        reads = 0
        while not done.is_set():
            assert isinstance(ring_file.read(path), KeyRing)
            reads += 1
        return reads

    with ThreadPoolExecutor(9) as executor:
        reader = executor.submit(read_until_done)
        list(executor.map(add_until_it_works, range(24)))
        done.set()

    assert reader.result() > 0
    assert all("changed by somebody else" in refusal for refusal in refusals)
    assert {f"key{number}" for number in range(24)} <= set(ring_file.read(path).ids())
    assert alone(path)
