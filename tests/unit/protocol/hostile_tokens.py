"""Encrypted replies that must be refused: the rows B49-B61 of the table of bad inputs."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from typing import Any

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding

from django_cybs_jwt.protocol import jwe, jws
from tests.unit.protocol import bare_jose
from tests.unit.protocol.bare_jose import b64, unb64
from tests.unit.protocol.protocol_samples import RESPONSE_KID, RESPONSE_RSA, RSA, SIGNING

PLAINTEXT = b'{"ok":1}'
USUAL = f'"alg":"RSA-OAEP-256","enc":"A256GCM","kid":"{RESPONSE_KID}"'


def header(**changes: Any) -> dict[str, Any]:
    """The header of an honest token with these changes; a change to ... leaves a member out."""
    return bare_jose.header(RESPONSE_KID, **changes)


def forge(head: dict[str, Any] | bytes | None = None, **arguments: Any) -> str:
    head = header() if head is None else head
    return bare_jose.encrypt(RESPONSE_RSA.public_key(), PLAINTEXT, head, **arguments)


def named(**changes: Any) -> str:
    """A token that is honest but for its header."""
    return forge(header(**changes))


def raw(text: str | bytes) -> str:
    """A token whose header is exactly this text."""
    return forge(text if isinstance(text, bytes) else text.encode())


def written(*members: str) -> str:
    """A token whose header has the usual members, written by hand, and then *members*."""
    return raw("{" + ",".join([USUAL, *members]) + "}")


FITTING = forge()
PARTS = FITTING.split(".")


def parted(**parts: str | bytes) -> str:
    """The fitting token with some of its five parts replaced."""
    names = ("header", "key", "iv", "ciphertext", "tag")
    given = {name: b64(part) if isinstance(part, bytes) else part for name, part in parts.items()}
    return ".".join(given.get(name, part) for name, part in zip(names, PARTS, strict=True))


def bit(part: int) -> bytes:
    """The bytes of a part with one bit turned."""
    data = unb64(PARTS[part])
    return bytes([data[0] ^ 1]) + data[1:]


def trailing(part: int) -> str:
    """A part that decodes to the same bytes and is written differently."""
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    return PARTS[part][:-1] + alphabet[alphabet.index(PARTS[part][-1]) + 1]


def json_serialization() -> str:
    names = ("protected", "encrypted_key", "iv", "ciphertext", "tag")
    return json.dumps(dict(zip(names, PARTS, strict=True)))


def pbes2() -> str:
    # A salt and a count that would keep a processor busy for half an hour.
    return named(alg="PBES2-HS256+A128KW", p2c=2**31 - 1, p2s=b64(os.urandom(16)))


def with_point() -> str:
    point = {"kty": "EC", "crv": "P-256", "x": b64(os.urandom(32)), "y": b64(os.urandom(32))}
    return named(alg="ECDH-ES", epk=point)


def padded(size: int) -> bytes:
    """A fitting header of exactly this many bytes."""
    text = json.dumps(header()).encode()
    return text + b" " * (size - len(text))


def other_header() -> str:
    """A fitting header whose last character has unused bits, with one of them set."""
    text = b64(padded(202))  # 202 = 3 * 67 + 1
    return text[:-1] + chr(ord(text[-1]) + 1)


Make = Callable[[], str]
# Refused on what the token says: the private key must not be touched.
AT_THE_DOOR: list[tuple[str, str, Make]] = [
    ("B49", "RSA1_5", lambda: forge(header(alg="RSA1_5"), pad=padding.PKCS1v15())),
    ("B49", "RSA-OAEP", lambda: forge(header(alg="RSA-OAEP"), pad=bare_jose.SHA1_OAEP)),
    (
        "B49",
        "RSA-OAEP-512",
        lambda: forge(header(alg="RSA-OAEP-512"), pad=bare_jose.oaep(hashes.SHA512())),
    ),
    ("B49", "PBES2", pbes2),
    ("B49", "ECDH-ES", with_point),
    *(
        ("B49", f"alg {alg!r}", lambda alg=alg: named(alg=alg))
        for alg in (
            *("dir", "A128KW", "A256GCMKW", "none", "", "rsa-oaep-256", "RSA-OAEP-256 ", None),
            *(True, 0, ["RSA-OAEP-256"], {"RSA-OAEP-256": 1}, ...),
        )
    ),
    ("B50", "zip DEF", lambda: named(zip="DEF")),
    ("B50", "zip null", lambda: named(zip=None)),
    ("B50", "zip empty", lambda: named(zip="")),
    *(
        ("B51", f"enc {enc!r}", lambda enc=enc: named(enc=enc))
        for enc in (
            *("A128GCM", "A192GCM", "A128CBC-HS256", "A256CBC-HS512", "a256gcm", "", None),
            *(["A256GCM"], 256, ...),
        )
    ),
    ("B52", "alg twice, ours last", lambda: raw('{"alg":"dir",' + USUAL + "}")),
    ("B52", "alg twice, ours first", lambda: written('"alg":"dir"')),
    ("B52", "alg twice, both ours", lambda: written('"alg":"RSA-OAEP-256"')),
    ("B52", "kid twice", lambda: written('"kid":"another"')),
    ("B52", "another member twice", lambda: written('"x":1', '"x":1')),
    ("B52", "twice inside a member", lambda: written('"x":{"y":1,"y":2}')),
    ("B52", "alg twice, once escaped", lambda: written('"\\u0061lg":"dir"')),
    *(
        ("B53", f"crit {crit!r}", lambda crit=crit: named(crit=crit))
        for crit in (["exp"], ["b64"], ["alg"], [], "exp", None, {}, 0)
    ),
    ("B53", "b64 false", lambda: named(b64=False)),
    ("B53", "b64 false and critical", lambda: named(b64=False, crit=["b64"])),
    *(
        ("B55", f"kid {str(kid)[:24]!r} of {len(str(kid))}", lambda kid=kid: named(kid=kid))
        for kid in (
            *("../../dev/null", "' OR 1=1 --", "another-merchants-kid", RESPONSE_KID + " ", "\0"),
            *("", "k" * 257, "k" * 1_000_000, [RESPONSE_KID], {"kid": RESPONSE_KID}, None, True, 0),
            ...,
        )
    ),
    ("B56", "header of 1 MB", lambda: named(pad="x" * 1_000_000)),
    ("B56", "header of 1,025 bytes", lambda: raw(padded(1025))),
    ("B56", "5,000 deep", lambda: written('"x":' + "[" * 5_000 + "]" * 5_000)),
    ("B56", "NaN", lambda: written('"iat":NaN')),
    ("B56", "Infinity", lambda: written('"x":[-Infinity]')),
    ("B56", "5,000 digits", lambda: written('"iat":' + "1" * 5_000)),
    ("B56", "a list", lambda: raw('["alg","enc"]')),
    ("B56", "a text", lambda: raw('"RSA-OAEP-256"')),
    ("B56", "a number", lambda: raw("256")),
    ("B56", "null", lambda: raw("null")),
    ("B56", "not JSON", lambda: raw("{'alg':'RSA-OAEP-256'}")),
    ("B56", "not closed", lambda: raw('{"alg":"RSA-OAEP-256"')),
    ("B56", "not UTF-8", lambda: raw(b'{"x":"\xff"}')),
    ("B56", "UTF-16", lambda: raw(json.dumps(header()).encode("utf-16"))),
    ("B56", "UTF-16 without mark", lambda: raw(json.dumps(header()).encode("utf-16-le"))),
    ("B56", "a byte order mark", lambda: raw(b"\xef\xbb\xbf" + json.dumps(header()).encode())),
    ("B57", "empty", str),
    ("B57", "dots only", lambda: "...."),
    ("B57", "four parts", lambda: ".".join(PARTS[:4])),
    ("B57", "six parts", lambda: FITTING + ".AAAA"),
    ("B57", "a dot behind", lambda: FITTING + "."),
    ("B57", "a dot before", lambda: "." + FITTING),
    *(
        ("B57", f"no {name}", lambda name=name: parted(**{name: ""}))
        for name in ("header", "key", "iv", "ciphertext", "tag")
    ),
    ("B57", "JSON serialization", json_serialization),
    ("B57", "a JWS", lambda: jws.sign({"a": 1}, SIGNING)),
    ("B57", "two tokens", lambda: FITTING + FITTING),
    ("B58", "padded key", lambda: parted(key=PARTS[1] + "==")),
    ("B58", "padded tag", lambda: parted(tag=PARTS[4] + "==")),
    ("B58", "space before", lambda: " " + FITTING),
    ("B58", "space behind", lambda: FITTING + " "),
    ("B58", "newline behind", lambda: FITTING + "\n"),
    ("B58", "newline inside", lambda: parted(key=PARTS[1][:76] + "\n" + PARTS[1][76:])),
    ("B58", "NUL behind", lambda: FITTING + "\0"),
    ("B58", "wide letters", lambda: parted(iv="\uff21" * 16)),
    ("B58", "Arabic digits", lambda: parted(iv="\u0661" * 16)),
    ("B58", "trailing bits of the key", lambda: parted(key=trailing(1))),
    ("B58", "trailing bits of the ciphertext", lambda: parted(ciphertext=trailing(3))),
    ("B58", "trailing bits of the tag", lambda: parted(tag=trailing(4))),
    ("B58", "trailing bits of the header", lambda: ".".join((other_header(), *PARTS[1:]))),
    ("B58", "standard alphabet", lambda: parted(key="+/" + PARTS[1][2:])),
    ("B58", "one character too many", lambda: parted(ciphertext="A" * 13)),
    ("B59", "tag of 12 bytes", lambda: parted(tag=unb64(PARTS[4])[:12])),
    ("B59", "tag of 15 bytes", lambda: parted(tag=unb64(PARTS[4])[:15])),
    ("B59", "tag of 17 bytes", lambda: parted(tag=unb64(PARTS[4]) + b"\0")),
    ("B59", "IV of 8 bytes", lambda: forge(iv=os.urandom(8))),
    ("B59", "IV of 16 bytes", lambda: forge(iv=os.urandom(16))),
    ("B59", "key of 255 bytes", lambda: parted(key=unb64(PARTS[1])[:255])),
    ("B59", "key of 513 bytes", lambda: parted(key=bytes(513))),
    ("B53", "iat is a text", lambda: named(iat="1794000000")),
    ("B56", "iat is endless", lambda: written('"iat":1e400')),
    ("B61", "over the limit", lambda: parted(ciphertext="A" * (jwe.LONGEST_TOKEN))),
]

# Of the right form, so that only the private key can tell.
WITH_THE_KEY: list[tuple[str, str, Make]] = [
    ("B59", "key of 257 bytes", lambda: parted(key=unb64(PARTS[1]) + b"\0")),
    ("B59", "key of zeros", lambda: parted(key=bytes(256))),
    ("B59", "key of ones", lambda: parted(key=b"\xff" * 256)),
    ("B59", "key flipped", lambda: parted(key=bit(1))),
    ("B59", "IV flipped", lambda: parted(iv=bit(2))),
    ("B59", "ciphertext flipped", lambda: parted(ciphertext=bit(3))),
    ("B59", "ciphertext cut", lambda: parted(ciphertext=unb64(PARTS[3])[:-1])),
    ("B59", "tag flipped", lambda: parted(tag=bit(4))),
    ("B59", "tag of zeros", lambda: parted(tag=bytes(16))),
    ("B59", "header of another token", lambda: parted(header=json.dumps(header(iat=1)).encode())),
    ("B59", "key of another token", lambda: parted(key=forge().split(".")[1])),
    ("B59", "for another public key", lambda: bare_jose.encrypt(RSA.public_key(), b"{}", header())),
    *(
        ("B59", f"content key of {size} bytes", lambda size=size: forge(cek=bytes(size)))
        for size in (0, 1, 16, 24, 31, 33, 64)
    ),
]
