"""Every row of the list of hostile key files and secrets: each is refused cleanly, or taken.

Refused cleanly: the named error, no secret in it and nothing on stderr; within 5 s; and no
other thread of this process stood still for more than 50 ms meanwhile.
"""

from __future__ import annotations

import re
import traceback
from collections.abc import Callable
from datetime import timedelta
from random import Random

import pytest
from cryptography.hazmat.primitives.asymmetric import dsa, ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)

from django_cybs_jwt.exceptions import (
    ExpiredKey,
    KeyMaterialError,
    UnreadableKeyFile,
    WeakKey,
    WrongKeyFile,
)
from django_cybs_jwt.protocol import der, keys
from django_cybs_jwt.protocol.p12 import load_p12
from django_cybs_jwt.protocol.pem import load_bundle, load_certificate, load_private_key
from django_cybs_jwt.testing import material
from tests.unit.protocol import hostile_files as hostile
from tests.unit.protocol.hostile_files import DAY, NOW, PASSWORD
from tests.unit.protocol.measuring import LONGEST_STALL, measured

LONGEST = 5.0

KEY = hostile.key()
OWN = hostile.certificate()
GOOD = hostile.good_p12()
BAGS = hostile.bags_of(GOOD)
MODERN = hostile.modern_p12(KEY, OWN)
PLAIN = hostile.pem()
ENCRYPTED = hostile.pem(password=PASSWORD)
PLAIN_DER = KEY.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption())
PUBLIC = KEY.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
SAME = str(UnreadableKeyFile())
TOO_MUCH = "too much work"
CANARIES = (PASSWORD, "canary", "-----BEGIN", PLAIN.decode()[40:90])
NO_ZIP = b"PK\x03\x04" + b"\0" * 26


def p12(data: bytes, password: str | bytes = PASSWORD) -> Callable[[], object]:
    return lambda: load_p12(data, password, now=NOW)


def pem(data: bytes, password: str | bytes | None = None) -> Callable[[], object]:
    return lambda: load_private_key(data, password)


def own_p12(**changes: object) -> bytes:
    return hostile.good_p12(hostile.certificate(**changes))


def flipped(data: bytes, at: int) -> bytes:
    return data[:at] + bytes((data[at] ^ 1,)) + data[at + 1 :]


RANDOM = Random(5).randbytes(64)

ROWS: list[tuple[str, Callable[[], object], type[KeyMaterialError], str]] = [
    ("B1 MAC of 2^31-1 iterations", p12(hostile.mac_bomb()), UnreadableKeyFile, TOO_MUCH),
    ("B1 wrong password", p12(hostile.mac_bomb(), "x"), UnreadableKeyFile, TOO_MUCH),
    ("B1 MAC of 2^39 iterations", p12(hostile.mac_bomb(2**39)), UnreadableKeyFile, TOO_MUCH),
    ("B2 PBES2 of 10^7 iterations", p12(hostile.pbes2_bomb()), UnreadableKeyFile, TOO_MUCH),
    (
        "B3 bomb in a safe",
        p12(hostile.nested_bomb(hostile.pbes2(hostile.pbkdf2(2**31 - 1)))),
        UnreadableKeyFile,
        "more time or memory",
    ),
    (
        "B3 scrypt bomb in a safe",
        p12(hostile.nested_bomb(hostile.pbes2(hostile.scrypt(2**22)))),
        UnreadableKeyFile,
        "",
    ),
    ("B4 1,000 bags", p12(hostile.many_bags()), UnreadableKeyFile, "more pieces"),
    ("B4 11 bags", p12(hostile.many_bags(11)), UnreadableKeyFile, TOO_MUCH),
    (
        "B5 scrypt 2^20",
        pem(hostile.encrypted_key(hostile.scrypt(2**20)), PASSWORD),
        UnreadableKeyFile,
        TOO_MUCH,
    ),
    (
        "B5 scrypt 2^22",
        pem(hostile.encrypted_key(hostile.scrypt(2**22)), PASSWORD),
        UnreadableKeyFile,
        TOO_MUCH,
    ),
    ("B6 NUL", p12(GOOD, "p\0w-canary"), UnreadableKeyFile, "NUL"),
    ("B6 NUL bytes", p12(GOOD, b"p\0w-canary"), UnreadableKeyFile, "NUL"),
    ("B6 NUL, PEM", pem(ENCRYPTED, "p\0w-canary"), UnreadableKeyFile, "NUL"),
    ("B7 not UTF-8", p12(GOOD, b"\xff\xfe"), UnreadableKeyFile, "UTF-8"),
    ("B7 surrogate", p12(GOOD, "\ud800"), UnreadableKeyFile, "UTF-8"),
    ("B7 not UTF-8, PEM", pem(ENCRYPTED, b"\xff\xfe"), UnreadableKeyFile, "UTF-8"),
    ("B8 1,025 characters", p12(GOOD, "\u00e9" * 1025), UnreadableKeyFile, "1,024"),
    ("B8 1,024 characters", p12(GOOD, "\u00e9" * 1024), UnreadableKeyFile, SAME),
    ("B8 spaces around", p12(GOOD, f" {PASSWORD} "), UnreadableKeyFile, SAME),
    ("B9 wrong password", p12(GOOD, "wrong"), UnreadableKeyFile, SAME),
    ("B9 MAC corrupted", p12(flipped(GOOD, -40)), UnreadableKeyFile, SAME),
    ("B9 certificate corrupted", p12(flipped(GOOD, 700)), UnreadableKeyFile, SAME),
    ("B9 key corrupted", p12(flipped(GOOD, -400)), UnreadableKeyFile, SAME),
    (
        "B9 key corrupted under a right MAC",
        p12(hostile.reseal(flipped(GOOD, -400))),
        UnreadableKeyFile,
        SAME,
    ),
    ("B9 wrong password, PBES2", p12(MODERN, "wrong"), UnreadableKeyFile, SAME),
    ("B9 wrong password, PEM", pem(ENCRYPTED, "wrong"), UnreadableKeyFile, SAME),
    ("B10 empty password", p12(GOOD, ""), UnreadableKeyFile, "password is empty"),
    ("B10 no password, PEM", pem(ENCRYPTED, None), UnreadableKeyFile, "Type its password"),
    ("B10 empty password, PEM", pem(ENCRYPTED, ""), UnreadableKeyFile, "Type its password"),
    ("B10 unencrypted", p12(hostile.unencrypted_p12()), WrongKeyFile, "without encryption"),
    ("B11 no MAC", p12(hostile.without_mac(GOOD)), WrongKeyFile, "integrity check"),
    (
        "B12 RC2-40",
        p12(hostile.replaced(GOOD, hostile.PKCS12_TRIPLE_DES, hostile.PKCS12_RC2_40)),
        WeakKey,
        "RC2",
    ),
    (
        "B14 EC",
        p12(hostile.modern_p12(ec.generate_private_key(ec.SECP256R1()))),
        WeakKey,
        "not RSA",
    ),
    (
        "B14 Ed25519",
        p12(hostile.modern_p12(ed25519.Ed25519PrivateKey.generate())),
        WeakKey,
        "not RSA",
    ),
    (
        "B14 DSA, PEM",
        pem(hostile.pem(dsa.generate_private_key(1024))),  # noqa: S505 - quick to make
        WeakKey,
        "not RSA",
    ),
    (
        "B14 EC PRIVATE KEY",
        pem(hostile.pem_text("EC PRIVATE KEY", b"\x30\x00")),
        WeakKey,
        "another kind",
    ),
    ("B14 RSA-PSS", p12(hostile.good_p12(hostile.pss_certificate())), WeakKey, "RSA-PSS"),
    (
        "B14 RSA-PSS, PEM",
        pem(hostile.pem_text("PRIVATE KEY", hostile.pss(PLAIN_DER))),
        WeakKey,
        "RSA-PSS",
    ),
    (
        "B15 RSA-1024",
        p12(hostile.modern_p12(material.rsa_key(1024, name="short"))),
        WeakKey,
        "1024",
    ),
    ("B15 RSA-16384, PEM", pem(hostile.pem(hostile.enormous_key())), WeakKey, "1638"),
    ("B15 RSA-16384", p12(hostile.modern_p12(hostile.enormous_key())), UnreadableKeyFile, ""),
    (
        "B15 e=3",
        p12(hostile.modern_p12(rsa.generate_private_key(3, 2048))),
        WeakKey,
        "65537",
    ),
    (
        "B16 inconsistent",
        p12(hostile.modern_p12(hostile.inconsistent_key())),
        UnreadableKeyFile,
        SAME,
    ),
    (
        "B16 inconsistent, PEM",
        pem(hostile.pem(hostile.inconsistent_key())),
        UnreadableKeyFile,
        SAME,
    ),
    (
        "B17 leaf of another key",
        p12(hostile.modern_p12(KEY, None, [material.issuer_certificate()])),
        WrongKeyFile,
        "belongs to its private key",
    ),
    (
        "B17 leaf of another key, PEM",
        lambda: load_bundle(
            PLAIN + hostile.certificate_pem(material.issuer_certificate()), None, now=NOW
        ),
        WrongKeyFile,
        "belongs to its private key",
    ),
    ("B18 no key", p12(hostile.modern_p12(None, None, [OWN])), WrongKeyFile, "no private key"),
    ("B18 no certificate", p12(hostile.modern_p12(KEY)), WrongKeyFile, "No certificate"),
    ("B18 two keys", p12(hostile.two_keys_p12()), WrongKeyFile, "several private keys"),
    *[
        (f"B18 {name}", p12(data), WrongKeyFile, "several private keys")
        for name, data in {
            "two keys in a safe": hostile.hiding_p12(BAGS + hostile.strangers_bags()),
            "two keys in a safe, ours last": hostile.hiding_p12(hostile.strangers_bags() + BAGS),
            "a key in a safe, another in clear": hostile.hiding_p12(
                hostile.strangers_bags(), clear=BAGS
            ),
            "a plain key in a safe, another in clear": hostile.hiding_p12(
                [hostile.plain_key_bag()], clear=BAGS
            ),
            "a broken key in a safe, another in clear": hostile.hiding_p12(
                [hostile.shrouded_bag(hostile.pbes2(hostile.pbkdf2(2_048)))], clear=BAGS
            ),
            "a key in a safe in a safe": hostile.hiding_p12(
                [*BAGS, hostile.nested_safe(hostile.nested_safe(hostile.plain_key_bag()))]
            ),
        }.items()
    ],
    (
        "B18 a safe that nobody looks into",
        p12(hostile.scrypt_safe_p12()),
        WrongKeyFile,
        "more keys could hide",
    ),
    (
        "B19 40 more, in clear",
        p12(hostile.good_p12(*[OWN] * 41)),
        UnreadableKeyFile,
        "more than 16",
    ),
    (
        "B19 40 more, encrypted",
        p12(hostile.modern_p12(KEY, OWN, [hostile.certificate() for _ in range(40)])),
        UnreadableKeyFile,
        "more than 16",
    ),
    (
        "B19 40 more, PEM",
        pem(PLAIN + hostile.certificate_pem() * 40),
        UnreadableKeyFile,
        "more than 16",
    ),
    (
        "B20 ended",
        p12(own_p12(not_before=NOW - 9 * DAY, not_after=NOW - DAY)),
        ExpiredKey,
        "ended at",
    ),
    ("B20 100 years", p12(own_p12(not_after=NOW + 36_525 * DAY)), WrongKeyFile, "100 years"),
    *[
        (f"B26 cut to {length}", p12(GOOD[:length]), UnreadableKeyFile, "damaged")
        for length in (1, 2, 30, 2_000, len(GOOD) - 1)
    ],
    ("B26 trailing byte", p12(GOOD + b"\0"), UnreadableKeyFile, "1 bytes after its end"),
    ("B26 trailing file", p12(GOOD + GOOD), UnreadableKeyFile, "after its end"),
    ("B26 indefinite length", p12(hostile.indefinite(GOOD)), UnreadableKeyFile, "BER"),
    ("B26 indefinite safe", p12(hostile.indefinite_safe()), UnreadableKeyFile, "BER"),
    ("B26 indefinite bags", p12(hostile.indefinite_bags()), UnreadableKeyFile, "BER"),
    ("B26 20,000 deep", p12(b"\x30\x80" * 20_000), UnreadableKeyFile, "BER"),
    ("B26 15,000 deep in DER", p12(hostile.deep(15_000)), UnreadableKeyFile, "nested"),
    ("B27 0 bytes", p12(b""), WrongKeyFile, "empty"),
    ("B27 0 bytes, PEM", pem(b""), WrongKeyFile, "empty"),
    ("B27 64 KiB + 1", p12(b"\x30" * 65_537), WrongKeyFile, "64 KiB"),
    ("B27 64 KiB + 1, PEM", pem(PLAIN + b"\n" * 65_537), WrongKeyFile, "64 KiB"),
    ("B28 ZIP", p12(NO_ZIP + GOOD), WrongKeyFile, "ZIP archive.*P12"),
    ("B28 ZIP behind", p12(GOOD + NO_ZIP), UnreadableKeyFile, "after its end"),
    ("B28 PDF", p12(b"%PDF-1.7\n" + GOOD), WrongKeyFile, "PDF document.*P12"),
    ("B28 PNG", p12(b"\x89PNG\r\n\x1a\n" + GOOD), WrongKeyFile, "PNG image.*P12"),
    ("B28 JKS", p12(b"\xfe\xed\xfe\xed\0\0\0\2" + b"\0" * 40), WrongKeyFile, "JKS.*P12"),
    ("B28 PEM as P12", p12(PLAIN + PUBLIC), WrongKeyFile, "a private key, a public key.*P12"),
    (
        "B28 certificate as P12",
        p12(OWN.public_bytes(Encoding.DER)),
        WrongKeyFile,
        "certificate in DER.*P12",
    ),
    ("B28 DER key as P12", p12(PLAIN_DER), WrongKeyFile, "private key in DER.*P12"),
    ("B28 text as P12", p12(b"my password is hidden"), WrongKeyFile, "plain text.*P12"),
    ("B28 noise as P12", p12(b"\1" + RANDOM), WrongKeyFile, "not known.*P12"),
    ("B28 P12 as PEM", pem(GOOD), WrongKeyFile, "P12 file.*PEM"),
    ("B28 UTF-16 as PEM", pem(PLAIN.decode().encode("utf-16")), WrongKeyFile, "UTF-16.*PEM"),
    ("B28 public key only", pem(PUBLIC), WrongKeyFile, "a public key.*PEM"),
    ("B28 certificate only", pem(hostile.certificate_pem()), WrongKeyFile, "a certificate.*PEM"),
    ("B28 key as certificate", lambda: load_certificate(PLAIN), WrongKeyFile, "private key"),
    ("B28 P12 as certificate", lambda: load_certificate(GOOD), WrongKeyFile, "P12 file"),
    ("B29 two keys", pem(PLAIN + PLAIN), WrongKeyFile, "2 private keys"),
    ("B29 leading text", pem(b"my key\n" + PLAIN), UnreadableKeyFile, "no PEM block"),
    ("B29 text behind", pem(PLAIN + b"that was it\n"), UnreadableKeyFile, "no PEM block"),
    ("B29 plain with password", pem(PLAIN, "x"), UnreadableKeyFile, "Leave the password empty"),
    ("B29 cut off", pem(PLAIN[:-40]), UnreadableKeyFile, "no PEM block"),
    ("B29 not Base64", pem(PLAIN.replace(b"M", b"=", 1)), UnreadableKeyFile, "damaged"),
    ("B29 other label", pem(PLAIN.replace(b"PRIVATE", b"OPENSSH PRIVATE")), WeakKey, "OPENSSH"),
    (
        "B29 encrypted the old way",
        pem(PLAIN.replace(b"-----\n", b"-----\nProc-Type: 4,ENCRYPTED\n\n", 1), "x"),
        UnreadableKeyFile,
        "openssl pkcs8 -topk8",
    ),
]


@pytest.mark.alone
@pytest.mark.parametrize(
    ("action", "error", "says"), [pytest.param(*row[1:], id=row[0]) for row in ROWS]
)
def test_is_refused_cleanly(
    action: Callable[[], object],
    error: type[KeyMaterialError],
    says: str,
    capfd: pytest.CaptureFixture[str],
) -> None:
    outcome = measured(action)
    assert type(outcome.error) is error
    if says == SAME:
        assert str(outcome.error) == SAME
    else:
        assert re.search(says, str(outcome.error), re.DOTALL)
    assert not [text for text in CANARIES if text in everything(outcome.error)]
    assert outcome.seconds <= LONGEST
    assert outcome.stall <= LONGEST_STALL
    assert capfd.readouterr().err == ""


def everything(error: BaseException | None) -> str:
    """All that a log could print of an error: message, facts, chain."""
    return "".join(traceback.format_exception(error)) + repr(getattr(error, "facts", ""))


def test_a_bomb_that_is_refused_takes_no_memory_of_this_process() -> None:
    resource = pytest.importorskip("resource")
    bomb = hostile.encrypted_key(hostile.scrypt(2**22))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(UnreadableKeyFile, match=TOO_MUCH):
        load_private_key(bomb, PASSWORD)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 5 * 1024


@pytest.mark.parametrize(
    ("data", "notice"),
    [
        pytest.param(MODERN, None, id="B8 right password"),
        pytest.param(GOOD, "3DES, one MAC iteration", id="B13 the gateway's own shape"),
        pytest.param(
            hostile.good_p12(OWN, hostile.certificate(kid="2" * 22)),
            "2 certificates belong",
            id="B18 two leaves for one key",
        ),
        pytest.param(
            hostile.hiding_p12([*BAGS[:-1], hostile.plain_key_bag()]),
            "one MAC iteration",
            id="B18 the one key in a safe, as the gateway wrote it in 2019",
        ),
        pytest.param(own_p12(not_before=NOW + DAY), "cannot sign before", id="B20 not valid yet"),
        pytest.param(
            hostile.good_p12(OWN, hostile.ended_short_root()), "3DES", id="B21 ended root of 1024"
        ),
        pytest.param(
            hostile.good_p12(
                OWN, material.gateway_certificate(not_after=NOW - timedelta(hours=1)).certificate
            ),
            "3DES",
            id="B22 ended MLE certificate",
        ),
        pytest.param(
            hostile.good_p12(hostile.certificate(common_name="another")), "3DES", id="B23 other CN"
        ),
    ],
)
def test_is_taken(data: bytes, notice: str | None) -> None:
    outcome = measured(p12(data))
    assert outcome.error is None
    assert outcome.stall <= LONGEST_STALL
    notices = load_p12(data, PASSWORD, now=NOW).notices
    assert (notice is None and not notices) or any(notice in text for text in notices)


@pytest.mark.filterwarnings("ignore:Attribute's length must be:UserWarning")
@pytest.mark.parametrize(
    ("common_name", "shown"),
    [
        pytest.param("<script>alert(1)</script>", "<script>alert(1)</script>", id="B25 script"),
        pytest.param("acme\u202e\u2066", "acme\ufffd\ufffd", id="B25 direction"),
        pytest.param("ac\0me\r\n", "ac\ufffdme\ufffd\ufffd", id="B25 control"),
        pytest.param("x" * 10_240, "x" * 253 + "...", id="B25 10 KB"),
        pytest.param("'; DROP TABLE x; --", "'; DROP TABLE x; --", id="B25 SQL"),
    ],
)
def test_hostile_names_are_shown_short_and_without_hidden_characters(
    common_name: str, shown: str
) -> None:
    bundle = load_p12(hostile.good_p12(hostile.named(common_name)), PASSWORD, now=NOW)
    assert (bundle.common_name, bundle.describe()[0].common_name) == (shown, shown)
    assert keys.common_name(bundle.certificate) == common_name


FRIENDLY_NAMES = {
    "script": "<script>alert(1)</script>",
    "direction": "acme\u202e\u2066",
    "NUL": "ac\0me",
    "10 KB": "x" * 5_120,
    "SQL": "'; DROP TABLE x; --",
    "empty": "",
}


@pytest.mark.parametrize("kind", FRIENDLY_NAMES)
def test_b25_a_hostile_friendly_name_is_not_even_read(kind: str) -> None:
    name = FRIENDLY_NAMES[kind].encode("utf-16-be")
    usual = f"serialNumber={'1' * 22},CN=acme".encode("utf-16-be")
    data = hostile.reseal(hostile.replaced(GOOD, der.encode(0x1E, usual), der.encode(0x1E, name)))
    assert usual not in data
    bundle = load_p12(data, PASSWORD, now=NOW)
    assert (bundle.common_name, bundle.kid) == ("acme", "1" * 22)
    assert bundle.describe() == load_p12(GOOD, PASSWORD, now=NOW).describe()


@pytest.mark.parametrize("odd", [b"\x1e\x01\xd8", b"\x1e\x04\xd8\x00\x00a", b"\x02\x01\x00"])
def test_b25_a_friendly_name_that_is_no_text_changes_nothing_or_is_a_damaged_file(
    odd: bytes,
) -> None:
    usual = der.encode(0x1E, f"serialNumber={'1' * 22},CN=acme".encode("utf-16-be"))
    outcome = measured(p12(hostile.reseal(hostile.replaced(GOOD, usual, odd))))
    assert outcome.error is None or str(outcome.error) == SAME


def test_a_key_id_in_a_certificate_that_is_none_is_refused() -> None:
    with pytest.raises(KeyMaterialError, match="not a key id"):
        load_p12(hostile.good_p12(hostile.named("acme", "../etc")), PASSWORD, now=NOW)
