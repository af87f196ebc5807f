from __future__ import annotations

import os

from django_cybs_jwt.sealing import open_blob, seal
from tests.unit.sealing.sealing_samples import HOME, RING, SECRET
from tests.unit.sealing.spec_envelope import Blob


def blob_from_a_child():
    """Fork, seal in the child and read the blob through a pipe."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.write(writing, seal(SECRET, context=HOME, ring=RING))
        finally:
            os._exit(0)
    os.close(writing)
    with os.fdopen(reading, "rb") as pipe:
        blob = pipe.read()
    os.waitpid(child, 0)
    return blob


def test_processes_forked_from_one_parent_never_draw_the_same_random_bytes():
    seal(SECRET, context=HOME, ring=RING)  # whatever state there is exists before the fork

    blobs = [blob_from_a_child() for _ in range(6)] + [seal(SECRET, context=HOME, ring=RING)]

    assert all(open_blob(blob, context=HOME, ring=RING) == SECRET for blob in blobs)
    for part in ("salt", "wrap_nonce", "nonce", "commitment", "wrapped_key"):
        assert len({getattr(Blob.split(blob), part) for blob in blobs}) == len(blobs)
