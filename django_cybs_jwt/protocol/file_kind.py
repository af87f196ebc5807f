"""What a file that is not the expected one looks like, in the words of the person who has it."""

from __future__ import annotations

import re
from typing import Final

from django_cybs_jwt.exceptions import UnreadableKeyFile, WrongKeyFile
from django_cybs_jwt.protocol import der
from django_cybs_jwt.texts import Text

MAX_BYTES: Final = 64 * 1024

_MAGIC: Final = (
    (b"PK\x03\x04", Text("a ZIP archive")),
    (b"%PDF", Text("a PDF document")),
    (b"\x89PNG", Text("a PNG image")),
    (b"\xff\xd8\xff", Text("a JPEG image")),
    (b"GIF8", Text("a GIF image")),
    (b"\xfe\xed\xfe\xed", Text("a Java keystore (JKS)")),
    (b"\xce\xce\xce\xce", Text("a Java keystore (JCEKS)")),
    (b"\x1f\x8b", Text("a gzip archive")),
    (b"\xff\xfe", Text("UTF-16 text")),
    (b"\xfe\xff", Text("UTF-16 text")),
)
_PEM_LABEL: Final = re.compile(rb"-----BEGIN ([A-Z0-9 ]{1,40})-----")
_SHAPES: Final = (
    ((der.INTEGER, der.SEQUENCE, der.SEQUENCE), Text("a P12 file")),
    ((der.INTEGER, der.SEQUENCE, der.OCTET_STRING), Text("a private key in DER")),
    ((der.INTEGER, der.INTEGER, der.INTEGER), Text("a private key in DER")),
    ((der.INTEGER, der.OCTET_STRING), Text("a private key in DER")),
    ((der.SEQUENCE, der.OCTET_STRING), Text("an encrypted private key in DER")),
    ((der.SEQUENCE, der.BIT_STRING), Text("a public key in DER")),
    ((der.SEQUENCE, der.SEQUENCE, der.BIT_STRING), Text("a certificate in DER")),
    ((der.OBJECT_IDENTIFIER, der.CONTEXT_0), Text("a PKCS#7 certificate bundle")),
)


def looks_like(data: bytes) -> str:
    """Name the kind of *data*, empty when it is none that is known."""
    for magic, name in _MAGIC:
        if data.startswith(magic):
            return name
    if labels := _PEM_LABEL.findall(data):
        return Text("PEM text with {blocks}", blocks=_listed(labels))
    if data.startswith(bytes((der.SEQUENCE,))):
        return der_kind(data)
    if data.isascii() and data.decode("ascii").replace("\r\n", "").replace("\n", "").isprintable():
        return Text("plain text")
    return ""


def der_kind(data: bytes) -> str:
    """Name the kind of a DER file, empty when it is none that is known."""
    try:
        tags = tuple(child.tag for child in der.parse(data).children())
    except UnreadableKeyFile:
        return ""
    return next((name for shape, name in _SHAPES if tags[: len(shape)] == shape), "")


def wrong_kind(data: bytes, expected: str) -> WrongKeyFile:
    """A refusal that names what *data* looks like and what is *expected* instead."""
    kind = looks_like(data)
    found = Text("This kind of file is not known here.")
    if kind:
        found = Text("This looks like {kind}.", kind=kind)
    return WrongKeyFile("{found} What belongs here is {expected}.", found=found, expected=expected)


def check_size(data: bytes, expected: str) -> None:
    """Raise WrongKeyFile for an empty file and for one above 64 KiB."""
    if not data:
        raise WrongKeyFile("The file is empty. What belongs here is {expected}.", expected=expected)
    if len(data) > MAX_BYTES:
        raise WrongKeyFile(
            "The file is larger than {most} KiB. What belongs here is {expected}.",
            most=MAX_BYTES // 1024,
            expected=expected,
        )


def _listed(labels: list[bytes]) -> str:
    """`a certificate` or `a private key, a certificate`: each label once, at most four."""
    names = dict.fromkeys(label.decode("ascii").lower() for label in labels)
    return ", ".join(("an " if name[:1] in "aeiou" else "a ") + name for name in list(names)[:4])
