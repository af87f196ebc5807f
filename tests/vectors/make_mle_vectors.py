"""Write mle_v1.json again, byte for byte: python -m tests.vectors.make_mle_vectors

Written from RFC 7516, 7518 and 8017 on `hashlib`, whole numbers and the AES-GCM of
`cryptography`. What is random in a real message, the content key, the IV and the seed of OAEP,
is a hash of its label here. It imports nothing of the package.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from tests.vectors.make_jwt_vectors import base64url

FILE = Path(__file__).with_name("mle_v1.json")
NOW = 1_794_000_000
GATEWAY_KID, RESPONSE_KID = "1763424170787064972884", "1757970970891045729358"

PAYMENT = '{"clientReferenceInformation":{"code":"TC50171_3"},"amount":"102.21"}'
ANSWER = '{"id":"7012345678901234567890","status":"AUTHORIZED","amount":"102.21"}'
REFUSED = '{"status":"INVALID_REQUEST","reason":"MISSING_FIELD","details":[]}'

# name, form, plaintext, and what differs from the usual header
CASES: tuple[tuple[str, str, str, dict[str, Any]], ...] = (
    ("request", "request", PAYMENT, {}),
    ("request of the Node SDK", "request", PAYMENT, {"cty": "JWT"}),
    ("request without iat", "request", PAYMENT, {"iat": None}),
    ("empty object", "request", "{}", {}),
    ("request beyond ASCII", "request", '{"name":"M\u00fcller \u6771\u4eac"}', {}),
    ("response", "response", ANSWER, {}),
    ("response with a content type", "response", ANSWER, {"cty": "JSON", "typ": "JWT"}),
    ("error reply", "response", REFUSED, {}),
    ("list", "response", '[{"a":1},{"a":2}]', {}),
    ("long response", "response", '{"rows":[' + ",".join(['"x y"'] * 200) + "]}", {}),
)


def document() -> dict[str, Any]:
    numbers = key_numbers()
    return {"now": NOW, "rsa": numbers, "vectors": [vector(numbers, *case) for case in CASES]}


def vector(
    numbers: dict[str, str], name: str, form: str, plaintext: str, changes: dict[str, Any]
) -> dict[str, Any]:
    kid = GATEWAY_KID if form == "request" else RESPONSE_KID
    usual = {"alg": "RSA-OAEP-256", "enc": "A256GCM", "kid": kid, "iat": NOW}
    header = {member: value for member, value in {**usual, **changes}.items() if value is not None}
    token = jwe(numbers, name, header, plaintext.encode())
    body = json.dumps({f"encrypted{form.capitalize()}": token}, separators=(",", ":"))
    return {"name": name, "form": form, "header": header, "plaintext": plaintext, "body": body}


def jwe(numbers: dict[str, str], name: str, header: dict[str, Any], plaintext: bytes) -> str:
    """RFC 7516, 5.1, with RSA-OAEP-256 (RFC 7518, 4.3) and A256GCM (5.3)."""
    protected = base64url(json.dumps(header, separators=(",", ":")).encode())
    content_key, iv = labelled(name, "content key"), labelled(name, "iv")[:12]
    sealed = AESGCM(content_key).encrypt(iv, plaintext, protected.encode("ascii"))
    wrapped = oaep(numbers, content_key, labelled(name, "seed"))
    parts = (wrapped, iv, sealed[:-16], sealed[-16:])
    return ".".join((protected, *map(base64url, parts)))


def oaep(numbers: dict[str, str], message: bytes, seed: bytes) -> bytes:
    """RFC 8017, 7.1.1 with SHA-256, MGF1 with SHA-256 and no label."""
    modulus, exponent = int(numbers["n"], 16), int(numbers["e"], 16)
    size = (modulus.bit_length() + 7) // 8
    block = hashlib.sha256(b"").digest()
    block += bytes(size - len(message) - len(block) - len(seed) - 2) + b"\x01" + message
    masked = xor(block, mgf1(seed, len(block)))
    encoded = b"\x00" + xor(seed, mgf1(masked, len(seed))) + masked
    return pow(int.from_bytes(encoded), exponent, modulus).to_bytes(size)


def mgf1(seed: bytes, length: int) -> bytes:
    """RFC 8017, appendix B.2.1."""
    counters = range(-(-length // 32))
    return b"".join(hashlib.sha256(seed + n.to_bytes(4)).digest() for n in counters)[:length]


def xor(first: bytes, second: bytes) -> bytes:
    return bytes(a ^ b for a, b in zip(first, second, strict=True))


def labelled(name: str, what: str) -> bytes:
    return hashlib.sha256(f"mle vectors: {name}: {what}".encode()).digest()


def key_numbers() -> dict[str, str]:
    """The key of the file, which is made once; hexadecimal."""
    if FILE.exists():
        numbers: dict[str, str] = json.loads(FILE.read_text("ascii"))["rsa"]
        return numbers
    private = rsa.generate_private_key(public_exponent=65537, key_size=2048).private_numbers()
    public = private.public_numbers
    values = {"n": public.n, "e": public.e, "d": private.d, "p": private.p, "q": private.q}
    return {name: f"{value:x}" for name, value in values.items()}


def text() -> str:
    return json.dumps(document(), indent=1) + "\n"


if __name__ == "__main__":
    FILE.write_text(text(), encoding="ascii")
