"""Reads a shared secret key pair as it is pasted: the key id and the secret in Base64."""

from __future__ import annotations

import base64
import re
from typing import Final

from django_cybs_jwt.exceptions import KeyMaterialError, WeakKey, WrongKeyFile
from django_cybs_jwt.protocol import keys
from django_cybs_jwt.protocol.file_kind import der_kind
from django_cybs_jwt.randomness import looks_random
from django_cybs_jwt.texts import Text
from django_cybs_jwt.tracebacks import forgetful

LONGEST_TEXT: Final = 1024

_KEY_ID: Final = re.compile(r"(?!.*\.\.)[A-Za-z0-9][A-Za-z0-9._-]{0,127}")
_BASE64: Final = re.compile(r"(?:[A-Za-z0-9+/]{4})*(?:[A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?")
_URL_SAFE: Final = re.compile(r"[A-Za-z0-9_-]+={0,2}")
_GET_AGAIN: Final = Text("Copy it again from the Business Center, exactly as shown there.")


@forgetful
def parse_shared_secret(text: str, *, algorithm: str = "HS256") -> bytes:
    """The bytes of a shared secret in standard Base64, fit for *algorithm*.

    White space around it is dropped. Raises WrongKeyFile for another kind of key, WeakKey for
    one that is short or not random, KeyMaterialError for what is not Base64.
    """
    trimmed = text.strip(" \t\r\n")
    _check_kind(trimmed)
    secret = _decode(trimmed)
    if der_kind(secret):
        raise WrongKeyFile(keys.ANOTHER_KIND)
    keys.check_shared_secret(algorithm, secret)
    _check_random(secret)
    return secret


def parse_key_id(value: object) -> str:
    """A key id: 1 to 128 letters, digits, `.`, `_` and `-`, without `..` and not leading.

    *value* may be anything a form, a file or a JSON body holds; raises KeyMaterialError.
    """
    if isinstance(value, str) and _KEY_ID.fullmatch(value):
        return value
    raise KeyMaterialError(
        "This is not a key id. Key ids are up to 128 letters, digits, dots, dashes and "
        "underscores, like 08c94330-f618-42a3-b09d-e1e43be5efda."
    )


def _check_kind(text: str) -> None:
    if "-----BEGIN" in text or (text.startswith("MII") and len(text) > 100):
        raise WrongKeyFile(keys.ANOTHER_KIND)
    if len(text) > LONGEST_TEXT:
        raise WrongKeyFile("This is too long for a shared secret, which has about 44 characters.")


def _decode(text: str) -> bytes:
    if not text:
        raise KeyMaterialError("The shared secret is empty. {cure}", cure=_GET_AGAIN)
    if not _BASE64.fullmatch(text):
        raise KeyMaterialError(_what_is_wrong(text))
    secret = base64.b64decode(text, validate=True)
    if base64.b64encode(secret).decode() != text:
        raise KeyMaterialError(
            "The Base64 does not end cleanly; it was changed. {cure}", cure=_GET_AGAIN
        )
    return secret


def _what_is_wrong(text: str) -> str:
    if re.search(r"\s", text):
        return Text("There is white space inside the shared secret. {cure}", cure=_GET_AGAIN)
    if re.search("[_-]", text) and _URL_SAFE.fullmatch(text):
        return Text(
            "This is URL-safe Base64 (with - or _); standard Base64 has + and /. {cure}",
            cure=_GET_AGAIN,
        )
    return Text("The shared secret is not complete Base64. {cure}", cure=_GET_AGAIN)


def _check_random(secret: bytes) -> None:
    if not looks_random(secret):
        raise WeakKey(
            "The shared secret is not random: it repeats itself, counts up or is readable text. "
            "Generate one in the Business Center."
        )
