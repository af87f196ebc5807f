from __future__ import annotations

import os
import resource
import stat

import pytest

from django_cybs_jwt.exceptions import KeyRingError
from django_cybs_jwt.sealing import KeyRing, ring_file
from tests.unit.sealing.sealing_samples import make_ring


@pytest.fixture
def path(tmp_path):
    return tmp_path / "ring.json"


@pytest.fixture
def loose_umask():
    before = os.umask(0)
    yield
    os.umask(before)


def mode_of(path):
    return stat.S_IMODE(path.stat().st_mode)


def test_a_written_ring_is_read_back(path):
    ring = make_ring()

    ring_file.write_new(path, ring)

    assert ring_file.read(path).to_json() == ring_file.read(str(path)).to_json() == ring.to_json()


def test_only_the_owner_may_read_a_new_ring_whatever_the_umask(path, loose_umask):
    ring_file.write_new(path, make_ring())

    assert mode_of(path) == 0o600
    assert not ring_file.is_world_readable(path)


def test_a_file_that_is_there_is_left_as_it_is(path):
    path.write_text("the only copy")

    with pytest.raises(FileExistsError):
        ring_file.write_new(path, make_ring())

    assert path.read_text() == "the only copy"


def test_a_link_that_waits_for_a_ring_is_not_followed(path, tmp_path):
    target = tmp_path / "elsewhere.json"
    path.symlink_to(target)

    with pytest.raises(FileExistsError):
        ring_file.write_new(path, make_ring())

    assert not target.exists()


def test_half_a_ring_is_removed_when_the_disk_is_full(path):
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (40, hard))
    try:
        with pytest.raises(OSError, match="too large"):
            ring_file.write_new(path, make_ring())
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))

    assert not path.exists()


def test_a_missing_ring_is_named_with_the_command_that_makes_one(path):
    with pytest.raises(KeyRingError) as caught:
        ring_file.read(path)

    assert str(path) in str(caught.value)
    assert "cybs_keyring generate" in str(caught.value)


def test_a_ring_that_cannot_be_read_is_named_with_the_reason(tmp_path):
    with pytest.raises(KeyRingError, match="Is a directory") as caught:
        ring_file.read(tmp_path)

    assert str(tmp_path) in str(caught.value)


@pytest.mark.parametrize("content", [b"", b"\xff", KeyRing.generate("k").to_json().encode()[:-9]])
def test_a_damaged_ring_is_a_key_ring_error_that_says_restore(path, content):
    path.write_bytes(content)

    with pytest.raises(KeyRingError, match="restore the ring from its backup"):
        ring_file.read(path)


@pytest.mark.parametrize(
    ("mode", "answer"), [(0o600, False), (0o640, False), (0o604, True), (0o644, True)], ids=oct
)
def test_a_file_is_world_readable_by_the_bit_for_others(path, mode, answer):
    path.write_text("")
    path.chmod(mode)

    assert ring_file.is_world_readable(path) is answer


def test_a_missing_file_is_not_world_readable(path):
    assert not ring_file.is_world_readable(path)
