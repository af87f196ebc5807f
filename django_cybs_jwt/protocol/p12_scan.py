"""A look at a P12 file that costs nothing, before a password is tried on it."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Final

from django_cybs_jwt.exceptions import UnreadableKeyFile, WrongKeyFile
from django_cybs_jwt.protocol import der, password_encryption
from django_cybs_jwt.protocol.der import Element, object_identifier
from django_cybs_jwt.protocol.p12_child import Safe
from django_cybs_jwt.protocol.p12_safes import take_apart
from django_cybs_jwt.texts import Text

MAX_CERTIFICATES: Final = 16
SEVERAL_KEYS: Final = Text("The P12 file holds several private keys. Export each one alone.")

_DATA: Final = object_identifier("1.2.840.113549.1.7.1")
_PLAIN_KEY: Final = object_identifier("1.2.840.113549.1.12.10.1.1")
_ENCRYPTED_KEY: Final = object_identifier("1.2.840.113549.1.12.10.1.2")
_CERTIFICATE: Final = object_identifier("1.2.840.113549.1.12.10.1.3")


@dataclass(frozen=True, slots=True, kw_only=True)
class ScannedP12:
    """A P12 file whose visible parts are harmless, in strict DER.

    *safes* are the parts that only the password shows.
    """

    data: bytes = field(repr=False)
    safes: tuple[Safe, ...] = field(default=(), repr=False)
    notices: tuple[str, ...]


def scan(data: bytes) -> ScannedP12:
    """Check shape, work factors, ciphers and counts of what is visible without the password.

    Raises UnreadableKeyFile, WrongKeyFile or WeakKey.
    """
    root = der.parse(data)
    elements = list(der.walk(root))
    version, safe, *rest = root.expect(der.INTEGER, der.SEQUENCE)
    if version.integer() != 3 or safe.expect(der.OBJECT_IDENTIFIER)[0].content != _DATA:
        raise WrongKeyFile("This P12 file is not protected by a password. Export it with one.")
    if not rest:
        raise WrongKeyFile(
            "The P12 file has no integrity check (MAC), so anybody could have changed it. "
            "Export it again with a password."
        )
    contents = _content(safe)
    elements += _elements_in_clear(contents)
    mac_iterations = _mac_iterations(rest[0])
    legacy = password_encryption.check(elements, mac_iterations)
    _check_bags(elements)
    return ScannedP12(
        data=der.encode(
            der.SEQUENCE, version.encoded, safe.encoded, _without_encoded_default(rest[0])
        ),
        safes=tuple(
            take_apart(content) for content in contents.children() if not _is_clear(content)
        ),
        notices=password_encryption.legacy_notice(
            *(["3DES"] if legacy else []),
            *([Text("one MAC iteration")] if mac_iterations == 1 else []),
        ),
    )


def _elements_in_clear(contents: Element) -> list[Element]:
    """All that lies in clear inside the safe. The library takes BER there; this does not."""
    elements = list(der.walk(contents))
    for content in contents.children():
        if _is_clear(content):
            elements += der.walk(_content(content))
    return elements


def _is_clear(content: Element) -> bool:
    return content.expect(der.OBJECT_IDENTIFIER)[0].content == _DATA


def _content(content_info: Element) -> Element:
    """What a ContentInfo of type data wraps in its OCTET STRING."""
    wrapped = content_info.expect(der.OBJECT_IDENTIFIER, der.CONTEXT_0)[1]
    return der.parse(wrapped.expect(der.OCTET_STRING)[0].content)


def _mac_iterations(mac: Element) -> int:
    parts = mac.expect(der.SEQUENCE, der.OCTET_STRING)
    return parts[2].integer() if len(parts) > 2 else 1


def _without_encoded_default(mac: Element) -> bytes:
    """*mac* without an iteration count of 1, which is the default and has no place in DER.

    The gateway's files spell it out. cryptography then warns, reads the file as BER and
    announces that it may stop to; the MAC does not cover these bytes, so they can go.
    """
    parts = mac.children()
    if len(parts) == 3 and parts[2].encoded == der.encode(der.INTEGER, b"\1"):
        return der.encode(der.SEQUENCE, *(part.encoded for part in parts[:2]))
    return mac.encoded


def _check_bags(elements: list[Element]) -> None:
    bags = Counter(e.content for e in elements if e.tag == der.OBJECT_IDENTIFIER)
    if bags[_PLAIN_KEY]:
        raise WrongKeyFile(
            "The P12 file holds its private key without encryption. Export it with a password."
        )
    if bags[_ENCRYPTED_KEY] > 1:
        raise WrongKeyFile(SEVERAL_KEYS)
    if bags[_CERTIFICATE] > MAX_CERTIFICATES:
        raise too_many_certificates()


def too_many_certificates() -> UnreadableKeyFile:
    """The refusal of a file with more than 16 certificates."""
    return UnreadableKeyFile(
        "The P12 file holds more than {most} certificates. Export the key with "
        "its own certificate and the gateway's only.",
        most=MAX_CERTIFICATES,
    )
