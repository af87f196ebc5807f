from __future__ import annotations

from random import Random

import pytest

from django_cybs_jwt.randomness import looks_random


@pytest.mark.parametrize("length", [32, 48, 64, 512])
def test_random_bytes_pass_always(length: int) -> None:
    source = Random(23)
    assert all(looks_random(source.randbytes(length)) for _ in range(1_000))


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(b"", id="nothing"),
        pytest.param(b"correct horse battery staple, my dear", id="ASCII"),
        pytest.param(b"correct horse battery staple, my dear\n", id="with a newline"),
        pytest.param(b"correct\thorse\r\nbattery\nstaple, my dear\x0c", id="with white space"),
        pytest.param("pässword-pässword-my-dear-friend".encode(), id="beyond ASCII"),
        pytest.param("密码是我的好朋友的生日和名字".encode(), id="Chinese"),
        pytest.param("Quick-brown-Fox-jumps".encode("utf-16-le"), id="UTF-16"),
        pytest.param("Quick-brown-Fox-jumps".encode("utf-16-be"), id="UTF-16, the other end first"),
        pytest.param("Quick-brown".encode("utf-32"), id="UTF-32"),
        pytest.param(bytes(range(7, 71)), id="counting"),
        pytest.param(bytes(range(7, 47)) + bytes(range(7, 20)), id="repeated in part"),
    ],
)
def test_what_somebody_thought_of_does_not(data: bytes) -> None:
    assert not looks_random(data)
