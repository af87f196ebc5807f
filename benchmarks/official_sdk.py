"""The official SDK in its own interpreter, measured a block at a time."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any, Self

from benchmarks.subjects import BODY, HOST, ORG_ID, PATH, Material

_SIDE = Path(__file__).with_name("sdk_side.py")
_OWN_ENVIRONMENT = Path(__file__).parents[1] / ".sdk-venv" / "bin" / "python"


def interpreter() -> Path | None:
    """The SDK's Python: CYBS_SDK_PYTHON, or what `make sdk` made; None where there is none."""
    python = Path(os.environ.get("CYBS_SDK_PYTHON") or _OWN_ENVIRONMENT)
    return python if python.exists() else None


class OfficialSDK:
    """A process that holds the SDK with warm caches; a context manager."""

    def __init__(self, python: Path, directory: Path, material: Material) -> None:
        self._process = subprocess.Popen(
            # It imports pkg_resources, which warns of itself.
            [python, "-I", "-W", "ignore", _SIDE],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            cwd=directory,
            text=True,
        )
        self.versions: dict[str, str] = self._ask(_job(directory, material))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self._process.kill()
        self._process.communicate()

    def measure(self, part: str, times: int) -> list[int]:
        """Run *part* that many times; nanoseconds of each."""
        answer: list[int] = self._ask({"part": part, "times": times})
        return answer

    def _ask(self, question: dict[str, Any]) -> Any:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        print(json.dumps(question), file=self._process.stdin, flush=True)
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError(
                f"The official SDK ended with code {self._process.wait()}. "
                "Make its environment again with `make sdk`."
            )
        return json.loads(line)


def _job(directory: Path, material: Material) -> dict[str, Any]:
    files = {
        "p12": (f"{ORG_ID}.p12", material.p12.data),
        "gateway_certificate": ("gateway.pem", material.gateway.pem.encode()),
    }
    for name, data in files.values():
        (directory / name).write_bytes(data)
    return {
        "org_id": ORG_ID,
        "host": HOST,
        "path": PATH,
        "body": BODY.decode(),
        "replies": material.replies,
        "password": material.p12.password,
        "key_id": material.shared.key_id,
        "secret": material.shared.secret,
        **{key: str(directory / name) for key, (name, _) in files.items()},
    }
