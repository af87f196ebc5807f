"""The resource path that is claimed and sent: one string, checked before anything is signed.

HTTP libraries collapse dot segments, follow `//host` and re-encode what they do not like.
Signed and sent would then differ, or the credential would go to another host.
So the path must already be in the form that is left alone.
"""

from __future__ import annotations

import re
from typing import Final
from urllib.parse import unquote_to_bytes

from django_cybs_jwt.exceptions import InvalidPath
from django_cybs_jwt.texts import Text

LONGEST: Final = 2048

_PATH: Final = re.compile(
    r"/(?:[A-Za-z0-9._~!$&'()*+,;=:@/-]|%[0-9A-Fa-f]{2})*"
    r"(?:\?(?:[A-Za-z0-9._~!$&'()*+,;=:@/?-]|%[0-9A-Fa-f]{2})*)?\Z"
)
_CONTROL: Final = re.compile(rb"[\x00-\x1f\x7f]")


def check_path(path: str) -> str:
    """Return *path* unchanged, or raise InvalidPath.

    *path* is `/segment/segment?query`, ASCII, percent-encoded, at most 2,048 characters.
    """
    if not isinstance(path, str):
        raise InvalidPath("The path is text, not {type}.", type=type(path).__name__)
    if len(path) > LONGEST:
        raise InvalidPath(
            "The path has {length} characters; {longest} is the most.",
            length=len(path),
            longest=LONGEST,
        )
    if not _PATH.match(path):
        raise InvalidPath(_what_is_wrong(path))
    # Where none of these stands, as in nearly every path, nothing can be hidden.
    if not any(mark in path for mark in ("%", "//", "/.")):
        return path
    resource, _, query = path.partition("?")
    _check_segments(resource)
    if _CONTROL.search(_decode_twice(query)):
        raise InvalidPath("The query string hides a control character. Remove it.")
    return path


def _check_segments(resource: str) -> None:
    segments = resource.split("/")[1:]
    if "" in segments[:-1]:
        raise InvalidPath("The path has an empty segment ('//'). Is an id missing?")
    for segment in segments:
        decoded = _decode_twice(segment)
        # "/;/.." style parameters are stripped by some servers before they resolve dots.
        if decoded.split(b";")[0] in (b".", b".."):
            raise InvalidPath("The path has a '.' or '..' segment. Write the path it leads to.")
        if b"/" in decoded or b"\\" in decoded or _CONTROL.search(decoded):
            raise InvalidPath("A path segment hides a slash, backslash or control character.")


def _decode_twice(text: str) -> bytes:
    return unquote_to_bytes(unquote_to_bytes(text))


def _what_is_wrong(path: str) -> str:
    if not path.startswith("/"):
        return Text("The path must start with one '/' and carry no host, like /pts/v2/payments.")
    if "{" in path:
        return Text("The path still has a placeholder in braces. Fill it in.")
    if "#" in path:
        return Text("A path has no '#': fragments are never sent.")
    return Text("The path has a character that must be percent-encoded (urllib.parse.quote).")
