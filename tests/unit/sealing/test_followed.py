from __future__ import annotations

from pathlib import Path

import pytest

from django_cybs_jwt.exceptions import KeyBlocked, KeyUnavailable
from django_cybs_jwt.sealing import FollowedFile, KeyRing, Status, open_blob, ring_file, seal
from tests.unit.sealing.sealing_samples import HOME


@pytest.fixture
def path(tmp_path):
    path = tmp_path / "ring.json"
    ring_file.write_new(path, KeyRing.generate("old"))
    return path


@pytest.fixture
def file(path):
    return FollowedFile(path)


@pytest.fixture
def reads(monkeypatch):
    """Every reading of a file's content from here on."""
    seen, read = [], Path.read_bytes
    monkeypatch.setattr(Path, "read_bytes", lambda self: seen.append(self) or read(self))
    return seen


def grow(path, name="new"):
    """What `cybs_keyring add` and `promote` do in another process; what it seals then."""
    ring_file.change(path, lambda ring: ring.with_new(name).promoted(name))
    return seal(b"secret", context=HOME, ring=ring_file.read(path))


def refuse(self):
    raise PermissionError(self)


def opened(blob, ring):
    return open_blob(blob, context=HOME, ring=ring)


def test_a_ring_in_use_opens_what_was_sealed_under_a_key_added_since(path, file):
    ring = file.ring()

    blob = grow(path)

    assert opened(blob, ring) == opened(blob, file.ring()) == b"secret"


def test_a_change_is_read_once_and_then_held(path, file, reads):
    blob = grow(path)
    reads.clear()

    for _ in range(5):
        assert opened(blob, file.ring()) == b"secret"

    assert len(reads) == 1


def test_an_unknown_key_stays_unknown_and_reads_no_file_that_has_not_changed(path, file, reads):
    foreign = seal(b"secret", context=HOME, ring=KeyRing.generate("foreign"))

    for _ in range(5):
        with pytest.raises(KeyUnavailable):
            opened(foreign, file.ring())
    assert reads == []

    grow(path)
    reads.clear()
    for _ in range(5):
        with pytest.raises(KeyUnavailable):
            opened(foreign, file.ring())
    assert len(reads) == 1


def test_a_ring_held_on_to_seals_as_before_until_the_newest_is_asked_for(path, file):
    ring = file.ring()
    blob = grow(path)

    assert file.ring().primary_id == "old"
    opened(blob, ring)

    assert (ring.primary_id, file.ring().primary_id) == ("old", "new")


def test_a_key_unblocked_since_opens_again(path):
    blob = seal(b"secret", context=HOME, ring=ring_file.read(path))
    grow(path)
    ring_file.change(path, lambda ring: ring.with_status("old", Status.BLOCKED))
    file = FollowedFile(path)
    with pytest.raises(KeyBlocked):
        opened(blob, file.ring())

    ring_file.change(path, lambda ring: ring.with_status("old", Status.DECRYPT_ONLY))

    assert opened(blob, file.ring()) == b"secret"


def replaced(path):
    path.write_text(KeyRing.generate("new").to_json())


def damaged(path):
    path.write_bytes(path.read_bytes()[:-9])


@pytest.mark.parametrize("spoil", [replaced, damaged, Path.unlink])
def test_what_is_not_the_same_ring_is_not_taken_and_the_ring_in_use_goes_on(
    path, file, spoil, caplog
):
    blob = seal(b"secret", context=HOME, ring=file.ring())
    new = grow(path)
    spoil(path)

    for _ in range(3):
        with pytest.raises(KeyUnavailable):
            opened(new, file.ring())

    assert opened(blob, file.ring()) == b"secret"
    assert len(caplog.records) == 1
    assert "not taken" in caplog.text


def test_a_ring_that_is_mended_is_taken(path, file):
    blob = grow(path)
    content = path.read_bytes()
    damaged(path)
    with pytest.raises(KeyUnavailable):
        opened(blob, file.ring())

    path.write_bytes(content)

    assert opened(blob, file.ring()) == b"secret"


def test_a_ring_that_becomes_readable_later_is_taken_then(path, file, monkeypatch):
    """A new file that its reader may not open yet: root, who always may, runs this too."""
    blob = grow(path)
    with monkeypatch.context() as patch:
        patch.setattr(Path, "read_bytes", refuse)
        with pytest.raises(KeyUnavailable):
            opened(blob, file.ring())

    path.chmod(0o640)

    assert opened(blob, file.ring()) == b"secret"
