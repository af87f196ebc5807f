from __future__ import annotations

import sys
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
)

from django_cybs_jwt.exceptions import ConfigurationError, UnreadableKeyFile
from django_cybs_jwt.protocol import key_reader
from tests.unit.protocol import hostile_files as hostile

PLAIN = hostile.key().private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption())


def interpreter(folder: Path, script: str) -> str:
    """A program that stands in for Python."""
    program = folder / "interpreter"
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(0o700)
    return str(program)


def test_the_interpreter_can_be_named() -> None:
    key, certificates = key_reader.read_key_file("key", PLAIN, b"", interpreter=sys.executable)
    assert key.private_numbers() == hostile.key().private_numbers()
    assert certificates == []


@pytest.mark.parametrize(
    "script",
    [
        pytest.param("exit 0", id="says nothing"),
        pytest.param("exit 1", id="fails"),
        pytest.param("echo hello world", id="says something else"),
        pytest.param(r"printf '\000\000\000\002no'", id="says an unknown word"),
        pytest.param(r"printf '\000\000\000\002\377\377'", id="says no word"),
    ],
)
def test_an_interpreter_that_is_none_is_a_configuration_error(tmp_path: Path, script: str) -> None:
    program = interpreter(tmp_path, script)
    with pytest.raises(ConfigurationError, match="does not start as a Python with cryptography"):
        key_reader.read_key_file("key", PLAIN, b"", interpreter=program)


def test_an_interpreter_that_is_not_there_is_a_configuration_error(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="nowhere"):
        key_reader.read_key_file("key", PLAIN, b"", interpreter=str(tmp_path / "nowhere"))


def test_a_process_that_knows_no_interpreter_of_its_own_says_so(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(sys, "executable", None)
    with pytest.raises(ConfigurationError, match="The running program"):
        key_reader.read_key_file("key", PLAIN, b"")


def test_a_child_that_is_killed_is_a_refusal_of_the_file(tmp_path: Path) -> None:
    program = interpreter(tmp_path, "kill -9 $$")
    with pytest.raises(UnreadableKeyFile, match="more time or memory"):
        key_reader.read_key_file("key", PLAIN, b"", interpreter=program)


def test_a_child_that_hangs_is_stopped_by_the_clock(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(key_reader, "WALL_SECONDS", 0.3)
    program = interpreter(tmp_path, "exec sleep 30")
    with pytest.raises(UnreadableKeyFile, match="more time or memory"):
        key_reader.read_key_file("key", PLAIN, b"", interpreter=program)


def test_the_child_sees_no_environment_and_no_secret_among_its_arguments(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CANARY", "canary-in-the-environment")
    seen = tmp_path / "seen"
    program = interpreter(tmp_path, f'/usr/bin/env > "{seen}"; echo "$@" >> "{seen}"')
    with pytest.raises(ConfigurationError):
        key_reader.read_key_file("key", PLAIN, b"canary-password", interpreter=program)
    text = seen.read_text()
    assert "canary" not in text
    assert f"-I -B {key_reader.CHILD}" in text
