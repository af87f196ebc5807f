"""Write jwt_v2.json again, byte for byte: python -m tests.vectors.make_jwt_vectors

Written from the gateway's guide on `hashlib`, `hmac` and `cryptography` alone. It imports
nothing of the package, so a misreading there does not repeat itself here.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding, rsa

FILE = Path(__file__).with_name("jwt_v2.json")
NOW = 1_794_000_000
JTI = "6643fb9a-8093-47c6-95d3-8d69785b5e62"
HOST = "apitest.cybersource.com"
RSA_KID, HMAC_KID = "1757695744950028980655", "08c94330-f618-42a3-b09d-e1e43be5efda"
RESPONSE_KID = "1757970970891045729358"
HASHES = {"256": hashes.SHA256(), "384": hashes.SHA384(), "512": hashes.SHA512()}
SECRETS = {"HS256": 32, "HS384": 48, "HS512": 64}

PAYMENT = '{"clientReferenceInformation":{"code":"TC50171_3"},"amount":"102.21"}'
POST = {"method": "post", "path": "/pts/v2/payments", "body": PAYMENT}

# name, algorithm, profile, and what differs from the usual request
CASES: tuple[tuple[str, str, str, dict[str, Any]], ...] = (
    ("RS256", "RS256", "default", POST),
    ("RS384", "RS384", "default", POST),
    ("RS512", "RS512", "default", POST),
    ("HS256", "HS256", "default", POST),
    ("HS384", "HS384", "default", POST),
    ("HS512", "HS512", "default", POST),
    ("GET without digest", "RS256", "default", {"path": "/tss/v2/transactions/1"}),
    ("DELETE", "HS256", "default", {"method": "delete", "path": "/tms/v2/customers/AB12cd"}),
    ("PATCH", "RS256", "default", POST | {"method": "patch"}),
    ("PUT", "RS256", "default", POST | {"method": "put"}),
    ("query string", "RS256", "default", {"path": "/a/v1/b?x=1&y=a%26b+c&x=2"}),
    ("meta key", "RS256", "default", POST | {"owner": "portfolio_001"}),
    ("meta key, shared secret", "HS256", "default", POST | {"owner": "portfolio_001"}),
    ("response kid", "RS256", "default", POST | {"response_kid": RESPONSE_KID}),
    ("beyond ASCII", "RS256", "default", POST | {"body": '{"name":"M\u00fcller \u6771\u4eac"}'}),
    ("capitals in the ids", "RS256", "default", POST | {"merchant": "Acme_MID", "owner": "Acme"}),
    ("node-sdk", "RS256", "node-sdk", POST | {"response_kid": RESPONSE_KID}),
    ("without-request-host", "RS256", "without-request-host", POST),
)


def document() -> dict[str, Any]:
    numbers = key_numbers()
    key = private_key(numbers)
    return {
        "now": NOW,
        "jti": JTI,
        "host": HOST,
        "rsa": numbers,
        "shared_secrets": {name: secret(name).hex() for name in SECRETS},
        "vectors": [vector(key, *case) for case in CASES],
    }


def vector(
    key: rsa.RSAPrivateKey, name: str, algorithm: str, profile: str, changes: dict[str, Any]
) -> dict[str, Any]:
    request = {
        "method": "get",
        "path": "/",
        "body": "",
        "merchant": "acme_001",
        "owner": changes.get("merchant", "acme_001"),
        "response_kid": None,
        **changes,
    }
    kid = RSA_KID if algorithm[0] == "R" else HMAC_KID
    claims = claim_set(request, profile)
    head = {"alg": algorithm, "kid": kid, "typ": "JWT"}
    signed = f"{encoded(head)}.{encoded(claims)}"
    token = f"{signed}.{base64url(signature(key, algorithm, signed.encode()))}"
    fixed = {"name": name, "algorithm": algorithm, "kid": kid, "profile": profile}
    return {**fixed, **request, "claims": claims, "token": token}


def claim_set(request: dict[str, Any], profile: str) -> dict[str, Any]:
    body, node = request["body"].encode(), profile == "node-sdk"
    issued = NOW if node else NOW - 5
    claims: dict[str, Any] = {}
    if body:
        claims["digest"] = base64.b64encode(hashlib.sha256(body).digest()).decode()
        claims["digest-algorithm" if node else "digestAlgorithm"] = "SHA-256"
    claims |= {"iat": issued, "exp": issued + 120, "iss": request["owner"], "jti": JTI}
    claims["request-method"] = request["method"]
    if profile != "without-request-host":
        claims["request-host"] = HOST
    claims["request-resource-path"] = request["path"]
    claims["v-c-jwt-version"] = "2"
    claims["v-c-merchant-id"] = request["merchant"]
    if request["response_kid"]:
        claims["v-c-response-mle-kid"] = request["response_kid"]
    return claims


def signature(key: rsa.RSAPrivateKey, algorithm: str, signed: bytes) -> bytes:
    if algorithm[0] == "H":
        return hmac.digest(secret(algorithm), signed, f"sha{algorithm[2:]}")
    return key.sign(signed, padding.PKCS1v15(), HASHES[algorithm[2:]])


def secret(name: str) -> bytes:
    return hashlib.sha512(f"jwt vectors: {name}".encode()).digest()[: SECRETS[name]]


def encoded(value: dict[str, Any]) -> str:
    return base64url(json.dumps(value, separators=(",", ":")).encode())


def base64url(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def key_numbers() -> dict[str, str]:
    """The key of the file, which is made once; hexadecimal."""
    if FILE.exists():
        numbers: dict[str, str] = json.loads(FILE.read_text("ascii"))["rsa"]
        return numbers
    private = rsa.generate_private_key(public_exponent=65537, key_size=2048).private_numbers()
    public = private.public_numbers
    values = {"n": public.n, "e": public.e, "d": private.d, "p": private.p, "q": private.q}
    return {name: f"{value:x}" for name, value in values.items()}


def private_key(numbers: dict[str, str]) -> rsa.RSAPrivateKey:
    n, e, d, p, q = (int(numbers[name], 16) for name in "nedpq")
    return rsa.RSAPrivateNumbers(
        p=p,
        q=q,
        d=d,
        dmp1=rsa.rsa_crt_dmp1(d, p),
        dmq1=rsa.rsa_crt_dmq1(d, q),
        iqmp=rsa.rsa_crt_iqmp(p, q),
        public_numbers=rsa.RSAPublicNumbers(e, n),
    ).private_key()


def text() -> str:
    return json.dumps(document(), indent=1) + "\n"


if __name__ == "__main__":
    FILE.write_text(text(), encoding="ascii")
