"""A project of its own on disk, used as from a terminal: `python -m django COMMAND ...`."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]


@dataclass
class Project:
    """A directory with a SQLite file and, once generated, a key ring."""

    directory: Path
    settings: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.settings = {"KEYRING_FILE": str(self.keyring), **self.settings}

    @property
    def keyring(self) -> Path:
        return self.directory / "keyring.json"

    @property
    def database(self) -> Path:
        return self.directory / "db.sqlite3"

    def environment(self, extra: Mapping[str, str] | None = None) -> dict[str, str]:
        return {
            **{name: value for name, value in os.environ.items() if name != "DATABASE_URL"},
            "DJANGO_SETTINGS_MODULE": "tests.acceptance.shell_settings",
            "PYTHONPATH": str(ROOT),
            "PYTHONDONTWRITEBYTECODE": "1",
            "SHELL_DATABASE": str(self.database),
            "SHELL_CYBS_JWT": repr(self.settings),
            **(extra or {}),
        }

    def run(
        self,
        *arguments: str,
        stdin: bytes = b"",
        env: Mapping[str, str] | None = None,
    ) -> subprocess.CompletedProcess[bytes]:
        return subprocess.run(
            [sys.executable, "-m", "django", *arguments],
            input=stdin,
            capture_output=True,
            cwd=ROOT,
            env=self.environment(env),
            timeout=120,
            check=False,
        )

    def json(self, *arguments: str, **options: Any) -> Any:
        """The JSON that a command prints; it must succeed."""
        ended = self.run(*arguments, "--json", **options)
        assert ended.returncode == 0, ended.stderr.decode()
        return json.loads(ended.stdout)

    def copied_to(self, directory: Path) -> Project:
        """The same project in another directory, database and ring included."""
        shutil.copytree(self.directory, directory, dirs_exist_ok=True)
        settings = {k: v for k, v in self.settings.items() if k != "KEYRING_FILE"}
        return Project(directory, settings)
