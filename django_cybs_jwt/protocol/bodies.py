"""JSON bodies: encoded once, to the bytes that are hashed and sent; decoded strictly."""

from __future__ import annotations

import json
from typing import Any, Final, NoReturn

from django_cybs_jwt.exceptions import InvalidBody

# Larger bodies are uploads that belong to the gateway's file service.
LONGEST: Final = 8 * 1024 * 1024


def encode_json(value: Any) -> bytes:
    """Encode *value* as compact UTF-8 JSON, or raise InvalidBody.

    The message names the type that does not fit, never a value.
    """
    try:
        body = json.dumps(
            value, ensure_ascii=False, allow_nan=False, separators=(",", ":")
        ).encode()
    except UnicodeEncodeError:
        raise InvalidBody("The body has a lone surrogate; it is not text.") from None
    except TypeError as error:
        raise InvalidBody(
            "{cause}. Amounts are sent as strings: str(amount).", cause=error
        ) from None
    except (ValueError, RecursionError):
        raise InvalidBody(
            "The body has NaN, Infinity, a cycle or too deep nesting; JSON has none of them."
        ) from None
    return check_body(body)


def decode_json(body: bytes) -> Any:
    """Decode UTF-8 JSON without a duplicate name, NaN or Infinity, or raise ValueError.

    Two readers of such a text could understand two things, so nobody is to read it.
    """
    try:
        return _STRICT.decode(body.decode("utf-8"))
    except RecursionError:
        raise ValueError("too deep nesting") from None


def check_body(body: bytes) -> bytes:
    """Return *body* unchanged, or raise InvalidBody when it is no bytes or too long."""
    if not isinstance(body, bytes):
        raise InvalidBody(
            "The body must be bytes, not {type}; use json= for data.", type=type(body).__name__
        )
    if len(body) > LONGEST:
        raise InvalidBody(
            "The body has {length} bytes; {longest} is the most.", length=len(body), longest=LONGEST
        )
    return body


def _unique_names(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) != len(pairs):
        raise ValueError("duplicate name")
    return members


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")


# Made once: making one takes longer than decoding a token's header with it.
_STRICT: Final = json.JSONDecoder(object_pairs_hook=_unique_names, parse_constant=_no_constant)
