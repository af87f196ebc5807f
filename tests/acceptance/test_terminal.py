"""Whoever sits at the terminal may close the pipe, press Ctrl-C or Ctrl-D: no traceback then."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from tests.acceptance.shell import ROOT, Project
from tests.acceptance.test_commands import HOST, add, p12

pytestmark = pytest.mark.skipif(os.name != "posix", reason="pipes and terminals as POSIX has them")


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Project:
    project = Project(tmp_path_factory.mktemp("terminal"))
    for arguments in (("cybs_keyring", "generate"), ("migrate", "--verbosity", "0")):
        assert project.run(*arguments).returncode == 0
    add(project, "acme")
    return project


@pytest.mark.parametrize("command", ["cybs_org list", "cybs_audit export", "cybs_org list --json"])
def test_a_reader_that_has_read_enough_ends_a_command_without_a_word(
    project: Project, command: str
) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    ended = subprocess.run(
        [sys.executable, "-m", "django", *command.split()],
        stdout=writing,
        stderr=subprocess.PIPE,
        cwd=ROOT,
        env=project.environment(),
        timeout=60,
        check=False,
    )
    os.close(writing)
    assert (ended.returncode, ended.stderr) == (141, b"")


@pytest.mark.parametrize(
    ("key", "code", "says"), [(b"\x03", 130, "Interrupted."), (b"\x04", 2, "Nothing was typed.")]
)
def test_a_password_that_is_not_typed_ends_a_command_in_a_sentence(
    project: Project, key: bytes, code: int, says: str
) -> None:
    import pty

    command = [sys.executable, "-m", "django", "cybs_import", "acme", p12(project, "acme", "x")]
    child, terminal = pty.fork()
    if child == 0:
        os.chdir(ROOT)
        os.execvpe(sys.executable, command, project.environment())  # noqa: S606
    shown = _typed(terminal, key)
    _, status = os.waitpid(child, 0)
    os.close(terminal)
    assert os.waitstatus_to_exitcode(status) == code
    assert says in shown
    assert "Traceback" not in shown


def _typed(terminal: int, key: bytes) -> str:
    """What the terminal shows, with *key* pressed at the prompt."""
    shown, pressed = b"", False
    while True:
        try:
            shown += os.read(terminal, 4096)
        except OSError:  # the other end is gone
            return shown.decode()
        if b"Password of the file" in shown and not pressed:
            pressed = os.write(terminal, key) > 0


def test_a_name_that_the_terminal_cannot_show_is_shown_otherwise(project: Project) -> None:
    project.run("cybs_org", "add", "zoe", "--kind", "merchant", "--host", HOST, "--name", "Zoë")
    ascii_only = {"PYTHONIOENCODING": "ascii"}
    text = project.run("cybs_org", "list", env=ascii_only)
    assert (text.returncode, text.stderr) == (0, b"")
    assert b"Zo\\xeb" in text.stdout
    assert "Zoë" in {row["name"] for row in project.json("cybs_org", "list", env=ascii_only)}


def test_a_port_that_is_none_is_a_usage_error(project: Project) -> None:
    for port in ("70000", "-1", "x"):
        ended = project.run("cybs_simulator", "--port", port)
        assert ended.returncode == 2
        assert b"argument --port: " in ended.stderr
        assert b"Traceback" not in ended.stderr
