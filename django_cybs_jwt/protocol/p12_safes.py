"""The parts of a P12 file that only its password shows, taken apart for the child process.

The library hands out one private key and is silent about others, so those in encrypted parts
have to be counted, and for that the parts be decrypted. What cannot be, is refused.
"""

from __future__ import annotations

from typing import Final

from django_cybs_jwt.exceptions import UnreadableKeyFile, WrongKeyFile
from django_cybs_jwt.protocol import der
from django_cybs_jwt.protocol.der import Element, object_identifier
from django_cybs_jwt.protocol.p12_child import Safe
from django_cybs_jwt.texts import Text

_ENCRYPTED_DATA: Final = object_identifier("1.2.840.113549.1.7.6")
_PBES2: Final = object_identifier("1.2.840.113549.1.5.13")
_PBKDF2: Final = object_identifier("1.2.840.113549.1.5.12")
_CIPHERTEXT: Final = 0x80

# RFC 7292, appendix C: the names say the cipher and, with SHA-1, the derivation of its key.
_TRIPLE_DES: Final = {
    object_identifier("1.2.840.113549.1.12.1.3"): b"24",
    object_identifier("1.2.840.113549.1.12.1.4"): b"16",
}
_CIPHERS: Final = {
    object_identifier("1.2.840.113549.3.7"): (b"3des", b"24"),
    object_identifier("2.16.840.1.101.3.4.1.2"): (b"aes", b"16"),
    object_identifier("2.16.840.1.101.3.4.1.22"): (b"aes", b"24"),
    object_identifier("2.16.840.1.101.3.4.1.42"): (b"aes", b"32"),
}
_HASHES: Final = {
    object_identifier("1.2.840.113549.2.7"): b"sha1",
    object_identifier("1.2.840.113549.2.8"): b"sha224",
    object_identifier("1.2.840.113549.2.9"): b"sha256",
    object_identifier("1.2.840.113549.2.10"): b"sha384",
    object_identifier("1.2.840.113549.2.11"): b"sha512",
}
_UNKNOWN: Final = Text(
    "Part of the P12 file is encrypted in a way that is not looked into, and more keys could hide "
    "there. Write it anew with `openssl pkcs12 -in OLD -nodes | openssl pkcs12 -export -out NEW`."
)


def take_apart(content: Element) -> Safe:
    """An encrypted ContentInfo as the child wants it; WrongKeyFile for one that it cannot open."""
    try:
        algorithm, ciphertext = _encrypted(content)
        scheme, parameters = algorithm.expect(der.OBJECT_IDENTIFIER, der.SEQUENCE)[:2]
        if scheme.content == _PBES2:
            return _pbes2(parameters, ciphertext)
        length = _TRIPLE_DES[scheme.content]
        salt, iterations = parameters.expect(der.OCTET_STRING, der.INTEGER)[:2]
    except (UnreadableKeyFile, KeyError):
        raise WrongKeyFile(_UNKNOWN) from None
    return Safe(b"pkcs12", _decimal(iterations), salt.content, b"3des", length, b"", ciphertext)


def _encrypted(content: Element) -> tuple[Element, bytes]:
    name, wrapped = content.expect(der.OBJECT_IDENTIFIER, der.CONTEXT_0)[:2]
    if name.content != _ENCRYPTED_DATA:
        raise UnreadableKeyFile
    info = wrapped.expect(der.SEQUENCE)[0].expect(der.INTEGER, der.SEQUENCE)[1]
    parts = info.expect(der.OBJECT_IDENTIFIER, der.SEQUENCE, _CIPHERTEXT)
    return parts[1], parts[2].content


def _pbes2(parameters: Element, ciphertext: bytes) -> Safe:
    derivation, encryption = parameters.expect(der.SEQUENCE, der.SEQUENCE)[:2]
    name, numbers = derivation.expect(der.OBJECT_IDENTIFIER, der.SEQUENCE)[:2]
    if name.content != _PBKDF2:
        raise UnreadableKeyFile
    salt, iterations, *rest = numbers.expect(der.OCTET_STRING, der.INTEGER)
    hashes = [
        element.expect(der.OBJECT_IDENTIFIER)[0].content
        for element in rest
        if element.tag == der.SEQUENCE
    ]
    cipher, iv = encryption.expect(der.OBJECT_IDENTIFIER, der.OCTET_STRING)[:2]
    return Safe(
        _HASHES[hashes[0]] if hashes else b"sha1",
        _decimal(iterations),
        salt.content,
        *_CIPHERS[cipher.content],
        iv.content,
        ciphertext,
    )


def _decimal(number: Element) -> bytes:
    return str(number.integer()).encode()
