"""What the child process may take of the machine, tried on the real one with real bombs.

Each file here passes around the scan, as one would whose bomb the scan cannot see.
"""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from django_cybs_jwt.exceptions import UnreadableKeyFile
from django_cybs_jwt.protocol import key_reader, p12_child, pem_blocks
from tests.unit.protocol import hostile_files as hostile

PASSWORD = hostile.PASSWORD.encode()
GOOD = hostile.modern_p12(hostile.key(), hostile.certificate())
CPU_BOMB = hostile.nested_bomb(hostile.pbes2(hostile.pbkdf2(2**31 - 1)))
MEMORY_BOMB = pem_blocks.split(hostile.encrypted_key(hostile.scrypt(2**22)))[0].der

# A small process between this one and the child, so that what is measured is the child alone.
MEASURE = """
import json, resource, subprocess, sys
ended = subprocess.run(sys.argv[1:], stdin=sys.stdin, capture_output=True, timeout=60)
used = resource.getrusage(resource.RUSAGE_CHILDREN)
print(json.dumps([ended.returncode, ended.stdout.hex(), len(ended.stderr),
                  used.ru_utime + used.ru_stime, used.ru_maxrss // 1024]))
"""


class Ended(NamedTuple):
    returncode: int
    reply: bytes
    told: int
    cpu_seconds: float
    megabytes: int

    @property
    def by_a_limit(self) -> bool:
        return self.returncode in (-signal.SIGKILL, -signal.SIGXCPU)


def child(*fields: bytes) -> Ended:
    """How the real child ends, without the parent's clock."""
    line = [sys.executable, "-c", MEASURE, sys.executable, "-I", "-B", str(key_reader.CHILD)]
    ran = subprocess.run(line, input=p12_child.pack(*fields), capture_output=True, check=True)
    returncode, reply, *rest = json.loads(ran.stdout)
    return Ended(returncode, bytes.fromhex(reply), *rest)


@pytest.mark.alone
def test_a_file_that_computes_for_ever_is_killed_after_two_seconds_of_it() -> None:
    ended = child(b"p12", PASSWORD, CPU_BOMB)
    assert ended.by_a_limit
    assert ended.reply == b""
    assert ended.cpu_seconds <= p12_child.CPU_SECONDS + 0.5


@pytest.mark.alone
def test_a_file_that_asks_for_gigabytes_gets_half_of_one_at_most() -> None:
    ended = child(b"key", PASSWORD, MEMORY_BOMB)
    assert ended.by_a_limit or p12_child.unpack(ended.reply) in ([b"limit"], [b"unreadable"])
    assert ended.megabytes <= p12_child.ADDRESS_SPACE >> 20


@pytest.mark.alone
def test_an_honest_file_stays_far_below_the_limits() -> None:
    ended = child(b"p12", PASSWORD, GOOD)
    assert p12_child.unpack(ended.reply)[0] == b"ok"
    assert ended.cpu_seconds <= p12_child.CPU_SECONDS / 2
    assert ended.megabytes <= p12_child.ADDRESS_SPACE >> 22


@pytest.mark.alone
def test_the_parent_sees_the_limit_strike_and_does_not_wait_for_its_clock(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    ends: list[int] = []
    run = subprocess.run

    def recorded(*arguments: Any, **options: Any) -> Any:
        ended = run(*arguments, **options)
        ends.append(ended.returncode)
        return ended

    monkeypatch.setattr(key_reader, "WALL_SECONDS", 30.0)
    monkeypatch.setattr(subprocess, "run", recorded)
    with pytest.raises(UnreadableKeyFile, match="more time or memory"):
        key_reader.read_key_file("p12", CPU_BOMB, PASSWORD)
    assert [-end for end in ends] in ([signal.SIGKILL], [signal.SIGXCPU])


def test_the_library_does_print_the_password_that_makes_it_panic() -> None:
    """Or this file needs another one: the next test would hold nothing."""
    assert child(b"p12", b"p\0w-canary", GOOD).told > 0


def test_nothing_that_the_library_prints_reaches_the_parent() -> None:
    """Into a pipe, as a service has it: a file the child could not write to anyway."""
    program = (
        "import sys\n"
        "from django_cybs_jwt.exceptions import UnreadableKeyFile\n"
        "from django_cybs_jwt.protocol.key_reader import read_key_file\n"
        "try:\n"
        "    read_key_file('p12', sys.stdin.buffer.read(), b'p\\0w-canary')\n"
        "except UnreadableKeyFile:\n"
        "    print('refused')\n"
    )
    ran = subprocess.run(
        [sys.executable, "-c", program], input=GOOD, capture_output=True, check=False
    )
    assert (ran.stdout, ran.stderr) == (b"refused\n", b"")


def program(folder: Path, script: str) -> str:
    """A stand-in for the interpreter."""
    file = folder / "interpreter"
    file.write_text(f"#!/bin/sh\n{script}\n")
    file.chmod(0o700)
    return str(file)


def test_nothing_that_any_child_prints_reaches_this_process(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    noisy = program(tmp_path, f'echo canary >&2\nexec {sys.executable} "$@"')
    key, _ = key_reader.read_key_file("p12", GOOD, PASSWORD, interpreter=noisy)
    assert key.private_numbers() == hostile.key().private_numbers()
    assert capfd.readouterr() == ("", "")


@pytest.fixture
def without_resource(tmp_path: Path) -> str:
    """A Python like that of Windows, which cannot limit what a process takes."""
    hide = "import runpy, sys; sys.modules['resource'] = None"
    run = "runpy.run_path(sys.argv[1], run_name='__main__')"
    return program(tmp_path, f'exec {sys.executable} -I -B -c "{hide}; {run}" "$3"')


def test_where_nothing_can_be_limited_honest_files_are_read_all_the_same(
    without_resource: str,
) -> None:
    key, certificates = key_reader.read_key_file(
        "p12", GOOD, PASSWORD, interpreter=without_resource
    )
    assert key.private_numbers() == hostile.key().private_numbers()
    assert len(certificates) == 1


@pytest.mark.alone
def test_where_nothing_can_be_limited_the_parents_clock_stops_a_bomb(
    without_resource: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(key_reader, "WALL_SECONDS", 1.0)
    with pytest.raises(UnreadableKeyFile, match="more time or memory"):
        key_reader.read_key_file("p12", CPU_BOMB, PASSWORD, interpreter=without_resource)
