"""What a key file's password encryption asks for: how much work, and which ciphers.

A file decides its own work factors; one of a few kilobytes can keep a core busy for minutes
or take gigabytes under any password. So the numbers are read and bounded beforehand.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from django_cybs_jwt.exceptions import UnreadableKeyFile, WeakKey
from django_cybs_jwt.protocol import der
from django_cybs_jwt.protocol.der import Element, object_identifier
from django_cybs_jwt.texts import Text, listed

MAX_ITERATIONS: Final = 600_000
MAX_TOTAL_ITERATIONS: Final = 1_000_000

_PKCS12_PBE: Final = [object_identifier(f"1.2.840.113549.1.12.1.{n}") for n in range(1, 7)]
_PKCS5_PBE: Final = [object_identifier(f"1.2.840.113549.1.5.{n}") for n in (1, 3, 4, 6, 10, 11)]
_PBKDF2: Final = object_identifier("1.2.840.113549.1.5.12")
_SCRYPT: Final = object_identifier("1.3.6.1.4.1.11591.4.11")
_ITERATED: Final = frozenset({*_PKCS12_PBE, *_PKCS5_PBE, _PBKDF2})

_TRIPLE_DES: Final = frozenset({*_PKCS12_PBE[2:4], object_identifier("1.2.840.113549.3.7")})
_BROKEN: Final = frozenset(
    {
        *_PKCS5_PBE,  # DES and RC2
        *_PKCS12_PBE[0:2],  # RC4
        *_PKCS12_PBE[4:6],  # RC2
        object_identifier("1.2.840.113549.3.2"),  # RC2-CBC
        object_identifier("1.2.840.113549.3.4"),  # RC4
        object_identifier("1.3.14.3.2.7"),  # DES-CBC
    }
)


def check(elements: Iterable[Element], *more_iterations: int) -> bool:
    """Bound the work and refuse broken ciphers; True when 3DES is used.

    *more_iterations* are counts that stand elsewhere, as a P12's MAC has them.
    Raises UnreadableKeyFile or WeakKey.
    """
    costs, ciphers = list(more_iterations), set()
    for element in elements:
        algorithm = _algorithm(element)
        ciphers.add(algorithm)
        if algorithm in _ITERATED or algorithm == _SCRYPT:
            costs.append(_cost(element))
    _check_costs(costs)
    if ciphers & _BROKEN:
        raise WeakKey(
            "The file is encrypted with RC2, RC4 or DES, which are broken. Write it anew with "
            "`openssl pkcs12 -legacy -in OLD -nodes | openssl pkcs12 -export -out NEW`."
        )
    return bool(ciphers & _TRIPLE_DES)


def legacy_notice(*reasons: str) -> tuple[str, ...]:
    """A notice that names *reasons*; none when there are none."""
    if not reasons:
        return ()
    told = listed(reasons)
    return (Text("Legacy encryption ({reasons}): the password protects little.", reasons=told),)


def _algorithm(element: Element) -> bytes:
    """The OID of an AlgorithmIdentifier, empty for any other element."""
    if element.tag != der.SEQUENCE or element.content[:1] != bytes((der.OBJECT_IDENTIFIER,)):
        return b""
    return element.children()[0].content


def _cost(algorithm: Element) -> int:
    """Iterations of a PBKDF, or N * r * p of scrypt; both take about 0.3 us a piece here.

    Bounding N * r * p bounds scrypt's memory too: 128 bytes a piece.
    """
    name, parameters = algorithm.expect(der.OBJECT_IDENTIFIER, der.SEQUENCE)[:2]
    numbers = parameters.children()[1:]  # the salt comes first in all of them
    if name.content != _SCRYPT:
        return _positive(numbers[:1])
    return _positive(numbers[:3])


def _positive(numbers: list[Element]) -> int:
    product = 1
    for number in numbers:
        value = number.integer()
        if value < 1:
            raise UnreadableKeyFile
        product *= min(value, MAX_ITERATIONS + 1)
    return product


def _check_costs(costs: list[int]) -> None:
    if any(not 0 < cost <= MAX_ITERATIONS for cost in costs) or sum(costs) > MAX_TOTAL_ITERATIONS:
        raise UnreadableKeyFile(
            "The file asks for too much work before its password can be tried. Up to "
            "{most:,} iterations at a time and {total:,} in all are "
            "accepted. Export it again with the default settings.",
            most=MAX_ITERATIONS,
            total=MAX_TOTAL_ITERATIONS,
        )
