"""Opens one key file that a stranger may have written, then ends.

Started by key_reader as a program of its own, `python -I -B p12_child.py`, so that a hostile
file can freeze or crash nothing but this process. It imports the standard library and
cryptography only. It reads KIND, PASSWORD, FILE and the fields of each `Safe` from stdin and
writes `ok`, PRIVATE KEY, CERTIFICATE... (all DER), or one word that says why not.
Both are length-prefixed fields.
"""

from __future__ import annotations

import contextlib
import hashlib
import sys
import warnings
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from cryptography.hazmat.decrepit.ciphers.algorithms import TripleDES
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.padding import PKCS7
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


SHA1_BLOCK = 64
KEY_BAGS = (  # keyBag and pkcs8ShroudedKeyBag of RFC 7292, appendix D
    bytes.fromhex("060b2a864886f70d010c0a0101"),
    bytes.fromhex("060b2a864886f70d010c0a0102"),
)


class Safe(NamedTuple):
    """An encrypted part of a P12 file, taken apart: all that is needed to decrypt it.

    *kdf* is `pkcs12`, or the hash of PBKDF2; *cipher* is `3des` or `aes`, in CBC; numbers are
    decimal. An *iv* that is derived is empty.
    """

    kdf: bytes
    iterations: bytes
    salt: bytes
    cipher: bytes
    key_length: bytes
    iv: bytes
    ciphertext: bytes


class Refusal(Exception):
    """Why the file is not taken, in one word."""


def main() -> None:
    """Answer the one request on stdin."""
    limit_resources()
    try:
        kind, password, data, *rest = unpack(sys.stdin.buffer.read())
        reply = [b"ok", *(open_p12 if kind == b"p12" else open_key)(password, data, *rest)]
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


def open_p12(password: bytes, data: bytes, *rest: bytes) -> Iterator[bytes]:
    """The validated private key and every certificate of a P12 file; *rest* are its safes."""
    # The scan made strict DER of it: whatever still needs the fallback is not to be read.
    warnings.filterwarnings("error", message="PKCS#12 bundle could not be parsed as DER")
    try:
        bundle = pkcs12.load_pkcs12(data, password)
    except UserWarning:
        raise Refusal("not-der") from None
    if bundle.key is None:
        raise Refusal("no-key")
    if count_keys(data, [decrypt(safe, password) for safe in safes_of(rest)]) > 1:
        raise Refusal("several-keys")
    yield validated(bundle.key)
    for entry in [bundle.cert, *bundle.additional_certs]:
        if entry is not None:
            yield entry.certificate.public_bytes(serialization.Encoding.DER)


def safes_of(fields: Sequence[bytes]) -> list[Safe]:
    """The safes behind the file in a request."""
    size = len(Safe._fields)
    return [Safe(*fields[at : at + size]) for at in range(0, len(fields), size)]


def count_keys(data: bytes, decrypted: Sequence[bytes]) -> int:
    """How many bags of keys a P12 file has; the library hands out one and says nothing of others.

    Their names are looked for in all that can be read. What only looks like one counts too.
    """
    return sum(text.count(bag) for text in (data, *decrypted) for bag in KEY_BAGS)


def decrypt(safe: Safe, password: bytes) -> bytes:
    """The bags of an encrypted safe, in DER."""
    key, iv = derive(safe, password)
    # Of a 3DES key of 16 bytes the first 8 come again.
    cipher = TripleDES((key + key)[:24]) if safe.cipher == b"3des" else algorithms.AES(key)
    decryptor = Cipher(cipher, modes.CBC(iv)).decryptor()
    unpadder = PKCS7(cipher.block_size).unpadder()
    padded = decryptor.update(safe.ciphertext) + decryptor.finalize()
    return checked_sequence(unpadder.update(padded) + unpadder.finalize())


def derive(safe: Safe, password: bytes) -> tuple[bytes, bytes]:
    """The key and the initialization vector of a safe."""
    rounds, length = int(safe.iterations), int(safe.key_length)
    if safe.kdf == b"pkcs12":
        key, iv = (pkcs12_kdf(safe, password, *each) for each in ((1, length), (2, 8)))
        return key, iv
    return hashlib.pbkdf2_hmac(safe.kdf.decode(), password, safe.salt, rounds, length), safe.iv


def pkcs12_kdf(safe: Safe, password: bytes, purpose: int, length: int) -> bytes:
    """RFC 7292, appendix B.2, with SHA-1 as all of its own ciphers have it."""
    text = (password.decode() + "\0").encode("utf-16-be")
    blocks = repeated(safe.salt) + repeated(text)
    derived = b""
    while len(derived) < length:
        digest = bytes([purpose]) * SHA1_BLOCK + blocks
        for _ in range(int(safe.iterations)):
            digest = hashlib.sha1(digest, usedforsecurity=False).digest()
        derived += digest
        step = int.from_bytes(repeated(digest)) + 1
        parts = (blocks[at : at + SHA1_BLOCK] for at in range(0, len(blocks), SHA1_BLOCK))
        blocks = b"".join(((int.from_bytes(p) + step) % 2**512).to_bytes(64) for p in parts)
    return derived[:length]


def repeated(data: bytes) -> bytes:
    """*data* again and again, up to the end of a block."""
    length = -(-len(data) // SHA1_BLOCK) * SHA1_BLOCK
    return (data * (length // len(data) + 1))[:length]


def checked_sequence(text: bytes) -> bytes:
    """*text*, when it is one SEQUENCE in DER: what was decrypted wrongly would hide its keys."""
    size = text[1] & 0x7F if text[1] & 0x80 else 0
    length = int.from_bytes(text[2 : 2 + size]) if size else text[1]
    if text[0] != 0x30 or length != len(text) - 2 - size:
        raise Refusal("not-der")
    return text


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
