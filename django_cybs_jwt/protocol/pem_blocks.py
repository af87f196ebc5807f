"""Splits PEM text into its blocks, strictly.

Between blocks only what OpenSSL writes there is accepted: `Bag Attributes` and their lines,
`subject=` and `issuer=`.
"""

from __future__ import annotations

import base64
import binascii
import re
from dataclasses import dataclass
from typing import Final

from django_cybs_jwt.exceptions import UnreadableKeyFile
from django_cybs_jwt.protocol import keys

_BOM: Final = b"\xef\xbb\xbf"
# Both take linear time on any input: the lock is held while they run.
_BLOCK: Final = re.compile(
    rb"^-----BEGIN ([A-Z0-9 ]{1,40})-----[ \t]*\n([A-Za-z0-9+/=\s]*)^-----END \1-----[ \t]*$",
    re.MULTILINE,
)
_BETWEEN: Final = re.compile(
    rb"[ \t]*|[ \t][^:]*:.*|(?:subject|issuer) ?=.*"
    rb"|(?:Bag|Key) Attributes(?:: ?<[A-Za-z ]+>)?[ \t]*"
)


@dataclass(frozen=True, slots=True, repr=False, eq=False)
class PemBlock(keys.Secret):
    """What stands between one BEGIN line and its END line, decoded."""

    label: str
    der: bytes


def split(data: bytes) -> list[PemBlock]:
    """The blocks of PEM text in order; raises UnreadableKeyFile for anything else in it."""
    text = data.removeprefix(_BOM).replace(b"\r\n", b"\n")
    if b"\nProc-Type:" in text:
        raise UnreadableKeyFile(
            "The key is encrypted in OpenSSL's old way. Convert it with "
            "`openssl pkcs8 -topk8 -in OLD -out NEW`."
        )
    blocks, end = [], 0
    for match in _BLOCK.finditer(text):
        _check_between(text[end : match.start()])
        blocks.append(PemBlock(match[1].decode("ascii"), _decode(match[2])))
        end = match.end()
    _check_between(text[end:])
    return blocks


def _check_between(text: bytes) -> None:
    if not all(_BETWEEN.fullmatch(line) for line in text.split(b"\n")):
        raise UnreadableKeyFile(
            "The file holds text that belongs to no PEM block, or a block is damaged. "
            "Leave only complete blocks, from their BEGIN to their END line."
        )


def _decode(body: bytes) -> bytes:
    try:
        return base64.b64decode(b"".join(body.split()), validate=True)
    except binascii.Error:
        raise UnreadableKeyFile("A PEM block is damaged. Copy the file again.") from None
