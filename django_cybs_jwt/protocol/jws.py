"""Sign a claim set: the one place that imports PyJWT."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import jwt

from django_cybs_jwt.exceptions import MessageError, WrongKeyFile
from django_cybs_jwt.protocol.keys import ANOTHER_KIND, SigningKey


def sign(claims: Mapping[str, Any], key: SigningKey) -> str:
    """Return the compact JWS of *claims* with header `alg`, `kid` and `typ: JWT`.

    The algorithm is the key's own, checked against its kind and length when it was built.
    Raises WrongKeyFile for a shared secret that is another kind of key, MessageError for claims
    that are not JSON.
    """
    try:
        return jwt.encode(dict(claims), key.material, key.algorithm, headers={"kid": key.kid})
    except jwt.PyJWTError:
        raise WrongKeyFile(ANOTHER_KIND) from None
    except (TypeError, ValueError, RecursionError):
        raise MessageError("The claims cannot be written as JSON.") from None
