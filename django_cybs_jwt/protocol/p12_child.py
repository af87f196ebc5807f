"""Opens one key file that a stranger may have written, then ends.

Started by key_reader as a program of its own, `python -I -B p12_child.py`, so that a hostile
file can freeze or crash nothing but this process. It imports the standard library and
cryptography only. It reads KIND, PASSWORD, FILE from stdin and writes `ok`, PRIVATE KEY,
CERTIFICATE... (all DER), or one word that says why not. Both are length-prefixed fields.
"""

from __future__ import annotations

import contextlib
import sys
import warnings
from collections.abc import Iterator

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.hazmat.primitives.serialization import pkcs12

try:
    import resource
except ImportError:  # Windows: the parent's wall clock is the only limit
    resource = None  # type: ignore[assignment]

CPU_SECONDS = 2
# Starting takes 36 MB here; the costliest scrypt that passes the scan takes 77 MB more.
ADDRESS_SPACE = 512 * 1024 * 1024
# Validating a longer key costs seconds; the parent refuses it by its size.
LONGEST_VALIDATED = 4096


class Refusal(Exception):
    """Why the file is not taken, in one word."""


def main() -> None:
    """Answer the one request on stdin."""
    limit_resources()
    try:
        kind, password, data = unpack(sys.stdin.buffer.read())
        reply = [b"ok", *(open_p12 if kind == b"p12" else open_key)(password, data)]
    except Refusal as refusal:
        reply = [str(refusal).encode()]
    except MemoryError:
        reply = [b"limit"]
    except BaseException:  # noqa: BLE001 - the library's panic is not an Exception
        reply = [b"unreadable"]
    sys.stdout.buffer.write(pack(*reply))


def limit_resources() -> None:
    """Give this process two seconds, half a gigabyte, no files and no core dump."""
    if resource is None:
        return
    for name, limit in (
        (resource.RLIMIT_CPU, CPU_SECONDS),
        (resource.RLIMIT_AS, ADDRESS_SPACE),
        (resource.RLIMIT_FSIZE, 0),
        (resource.RLIMIT_CORE, 0),
    ):
        with contextlib.suppress(ValueError, OSError):  # a lower limit already, or macOS
            resource.setrlimit(name, (limit, limit))


def open_p12(password: bytes, data: bytes) -> Iterator[bytes]:
    """The validated private key and every certificate of a P12 file."""
    # The scan made strict DER of it: whatever still needs the fallback is not to be read.
    warnings.filterwarnings("error", message="PKCS#12 bundle could not be parsed as DER")
    try:
        bundle = pkcs12.load_pkcs12(data, password)
    except UserWarning:
        raise Refusal("not-der") from None
    if bundle.key is None:
        raise Refusal("no-key")
    yield validated(bundle.key)
    for entry in [bundle.cert, *bundle.additional_certs]:
        if entry is not None:
            yield entry.certificate.public_bytes(serialization.Encoding.DER)


def open_key(password: bytes, data: bytes) -> Iterator[bytes]:
    """The validated private key of a PKCS#8 or PKCS#1 file; no password means b""."""
    key = serialization.load_der_private_key(
        data, password or None, unsafe_skip_rsa_key_validation=True
    )
    yield validated(key)


def validated(key: object) -> bytes:
    """An RSA key as PKCS#8, once its primes and exponents have been checked."""
    if not isinstance(key, RSAPrivateKey):
        raise Refusal("not-rsa")
    encoded = key.private_bytes(
        serialization.Encoding.DER,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    if key.key_size <= LONGEST_VALIDATED:
        serialization.load_der_private_key(encoded, None)
    return encoded


def pack(*fields: bytes) -> bytes:
    """Put fields behind one another, each after its length in four bytes."""
    return b"".join(len(field).to_bytes(4) + field for field in fields)


def unpack(data: bytes) -> list[bytes]:
    """Take apart what `pack` made; ValueError when it does not come out even."""
    fields = []
    while data:
        end = 4 + int.from_bytes(data[:4])
        if end > len(data) or len(data) < 4:
            raise ValueError("a field is cut off")
        fields.append(data[4:end])
        data = data[end:]
    return fields


if __name__ == "__main__":
    main()
