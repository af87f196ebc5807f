"""Opens key files in a child process with limits.

Reading one can take minutes, gigabytes and Python's global lock, however small the file is.
The child (p12_child.py) has 2 s of CPU, 512 MB and 4.5 s by the clock, an empty environment
and no stderr. Where the module `resource` is missing (Windows) only the clock limits it.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Final, Literal, cast

from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.hazmat.primitives.serialization import load_der_private_key

from django_cybs_jwt.exceptions import (
    ConfigurationError,
    KeyMaterialError,
    UnreadableKeyFile,
    WeakKey,
    WrongKeyFile,
)
from django_cybs_jwt.protocol import der, keys, p12_child, p12_scan
from django_cybs_jwt.protocol.p12_child import Safe
from django_cybs_jwt.texts import Text

# Stopping it takes time as well; the whole of a refusal stays within 5 s on a busy machine.
WALL_SECONDS: Final = 4.5
CHILD: Final = Path(__file__).with_name("p12_child.py")

_LIMIT: Final = Text(
    "Reading the file took more time or memory than a key file needs, and was stopped. "
    "Export it again with the default settings."
)
_REFUSALS: Final[dict[str, tuple[type[KeyMaterialError], str]]] = {
    "unreadable": (UnreadableKeyFile, ""),
    "limit": (UnreadableKeyFile, _LIMIT),
    "not-der": (UnreadableKeyFile, der.NOT_DER),
    "several-keys": (WrongKeyFile, p12_scan.SEVERAL_KEYS),
    "no-key": (WrongKeyFile, Text("The file holds no private key, only certificates.")),
    "not-rsa": (
        WeakKey,
        Text("The private key is not RSA. Generate an RSA key of 2048 bits or more."),
    ),
}


def read_key_file(
    kind: Literal["p12", "key"],
    data: bytes,
    password: bytes,
    *safes: Safe,
    interpreter: str | None = None,
) -> tuple[RSAPrivateKey, list[bytes]]:
    """The private key, validated and of an accepted size, and certificates in DER.

    *kind* is `p12`, or `key` for PKCS#8 and PKCS#1 in DER (no password: b"").
    *safes* are the encrypted parts of a P12, in which keys have to be counted.
    *interpreter* is a Python that has cryptography; by default the running one.
    Raises UnreadableKeyFile, WrongKeyFile, WeakKey, or ConfigurationError without a child.
    """
    executable = interpreter or sys.executable or ""
    fields = (kind.encode(), password, data, *(field for safe in safes for field in safe))
    reply = _run(executable, p12_child.pack(*fields))
    try:
        status, *found = p12_child.unpack(reply)
        error, message = _REFUSALS[status.decode()] if status != b"ok" else (None, "")
    except (ValueError, KeyError):  # something else answered
        raise _no_child(executable) from None
    if error:
        raise error(message)
    # The child has validated it; a second time would hold the global lock for 40 ms and more.
    key = cast(
        RSAPrivateKey,
        load_der_private_key(found[0], None, unsafe_skip_rsa_key_validation=True),
    )
    keys.check_rsa(key.public_key())
    return key, found[1:]


def _run(executable: str, request: bytes) -> bytes:
    try:
        ended = subprocess.run(  # noqa: S603 - a fixed program, nothing of the file in argv
            [executable, "-I", "-B", str(CHILD)],
            input=request,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env={name: os.environ[name] for name in ("SYSTEMROOT",) if name in os.environ},
            timeout=WALL_SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise UnreadableKeyFile(_LIMIT) from None
    except OSError:
        raise _no_child(executable) from None
    if ended.returncode < 0:  # ended by a signal: a limit was reached
        raise UnreadableKeyFile(_LIMIT)
    return ended.stdout


def _no_child(executable: str) -> ConfigurationError:
    return ConfigurationError(
        "{program!r} does not start as a Python with cryptography, "
        "which is needed to read key files. Name one that does as the interpreter.",
        program=executable or "The running program",
    )
