"""Sign a claim set: the one place that imports PyJWT."""

from __future__ import annotations

import json
from base64 import urlsafe_b64encode
from collections.abc import Mapping
from typing import Any, Final
from weakref import WeakKeyDictionary

import jwt
from jwt.algorithms import Algorithm

from django_cybs_jwt.exceptions import MessageError, WrongKeyFile
from django_cybs_jwt.protocol.keys import ANOTHER_KIND, SigningKey

# Made once: making one takes as long as writing the claims with it.
_WRITER: Final = json.JSONEncoder(separators=(",", ":"), allow_nan=False)

# `jwt.encode` writes the header and looks at the key again for every token, which takes longer
# than all else around a signature; both are the same for as long as the key lives.
_signers: WeakKeyDictionary[SigningKey, tuple[Algorithm, bytes]] = WeakKeyDictionary()


def sign(claims: Mapping[str, Any], key: SigningKey) -> str:
    """Return the compact JWS of *claims* with header `alg`, `kid` and `typ: JWT`.

    The algorithm is the key's own, checked against its kind and length when it was built.
    Raises WrongKeyFile for a shared secret that is another kind of key, MessageError for claims
    that are not JSON.
    """
    algorithm, head = _signers.get(key) or _signer(key)
    signed = head + b"." + _base64url(_json(claims))
    return (signed + b"." + _base64url(algorithm.sign(signed, key.material))).decode("ascii")


def _signer(key: SigningKey) -> tuple[Algorithm, bytes]:
    algorithm = jwt.get_algorithm_by_name(key.algorithm)
    try:
        algorithm.prepare_key(key.material)
    except jwt.PyJWTError:
        raise WrongKeyFile(ANOTHER_KIND) from None
    head = _json({"alg": key.algorithm, "kid": key.kid, "typ": "JWT"})
    return _signers.setdefault(key, (algorithm, _base64url(head)))


def _json(value: Mapping[str, Any]) -> bytes:
    try:
        return _WRITER.encode(dict(value)).encode("ascii")
    except (TypeError, ValueError, RecursionError):
        raise MessageError("The claims cannot be written as JSON.") from None


def _base64url(data: bytes) -> bytes:
    return urlsafe_b64encode(data).rstrip(b"=")
