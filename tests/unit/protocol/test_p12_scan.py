from __future__ import annotations

import warnings

import pytest
from cryptography.hazmat.primitives.serialization import pkcs12

from django_cybs_jwt.exceptions import UnreadableKeyFile, WeakKey, WrongKeyFile
from django_cybs_jwt.protocol import der, p12_scan
from django_cybs_jwt.testing import material
from tests.unit.protocol import hostile_files as hostile


def test_the_gateways_encoded_default_is_taken_out_and_nothing_else() -> None:
    made = material.p12("acme", private_key=hostile.key())
    scanned = p12_scan.scan(made.data)
    before, after = (der.parse(data).children() for data in (made.data, scanned.data))
    assert [e.encoded for e in after[:2]] == [e.encoded for e in before[:2]]
    assert before[2].content == after[2].content + hostile.number(1)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        opened = pkcs12.load_pkcs12(scanned.data, made.password.encode())
    assert opened.cert is not None
    assert opened.cert.certificate == made.certificate


def test_a_file_in_der_passes_unchanged() -> None:
    data = hostile.modern_p12(hostile.key(), hostile.certificate())
    scanned = p12_scan.scan(data)
    assert (scanned.data, scanned.notices) == (data, ())


@pytest.mark.parametrize(
    ("iterations", "accepted"), [(600_000, True), (600_001, False), (0, False), (-1, False)]
)
def test_the_limit_of_mac_iterations_is_600_000(iterations: int, accepted: bool) -> None:
    count = iterations.to_bytes(4, signed=True)
    safe = hostile.safe_of(hostile.good_p12())
    data = hostile.p12_around(safe, "pw", declared_iterations=count)
    if accepted:
        assert p12_scan.scan(data).data == data
    else:
        with pytest.raises(UnreadableKeyFile, match="600,000"):
            p12_scan.scan(data)


@pytest.mark.parametrize(
    ("algorithm", "accepted"),
    [
        pytest.param(hostile.pbes2(hostile.pbkdf2(600_000)), True, id="PBKDF2"),
        pytest.param(hostile.pbes2(hostile.pbkdf2(600_001)), False, id="PBKDF2 over"),
        pytest.param(hostile.pbes2(hostile.scrypt(2**16)), True, id="scrypt"),
        pytest.param(hostile.pbes2(hostile.scrypt(2**17)), False, id="scrypt over in N"),
        pytest.param(hostile.pbes2(hostile.scrypt(2**14, 64)), False, id="scrypt over in r"),
        pytest.param(hostile.pbes2(hostile.scrypt(2**14, 8, 8)), False, id="scrypt over in p"),
        pytest.param(hostile.pbes2(hostile.scrypt(2**2000)), False, id="scrypt of 600 digits"),
    ],
)
def test_the_limit_of_one_key_derivation_is_600_000(algorithm: bytes, accepted: bool) -> None:
    data = hostile.p12_of(hostile.shrouded_bag(algorithm))
    if accepted:
        assert p12_scan.scan(data).data
    else:
        with pytest.raises(UnreadableKeyFile, match="600,000"):
            p12_scan.scan(data)


@pytest.mark.parametrize("iterations", [0, -1])
def test_a_derivation_of_less_than_one_iteration_is_refused(iterations: int) -> None:
    data = hostile.p12_of(hostile.shrouded_bag(hostile.pbes2(hostile.pbkdf2(iterations))))
    with pytest.raises(UnreadableKeyFile):
        p12_scan.scan(data)


def test_the_limit_of_all_derivations_together_is_a_million() -> None:
    two = [hostile.shrouded_bag(hostile.pbes2(hostile.pbkdf2(500_001))) for _ in range(2)]
    with pytest.raises(UnreadableKeyFile, match="1,000,000 in all"):
        p12_scan.scan(hostile.p12_of(*two))


@pytest.mark.parametrize(
    "oid",
    [
        "1.2.840.113549.1.12.1.1",
        "1.2.840.113549.1.12.1.5",
        "1.2.840.113549.1.12.1.6",
        "1.2.840.113549.1.5.3",
        "1.2.840.113549.1.5.11",
    ],
)
def test_broken_ciphers_are_refused_by_name(oid: str) -> None:
    data = hostile.replaced(hostile.good_p12(), hostile.PKCS12_TRIPLE_DES, hostile.oid(oid))
    with pytest.raises(WeakKey, match="RC2, RC4 or DES"):
        p12_scan.scan(data)


def test_a_file_sealed_with_a_public_key_is_refused() -> None:
    signed = hostile.replaced(hostile.good_p12(), hostile.DATA, hostile.oid("1.2.840.113549.1.7.2"))
    with pytest.raises(WrongKeyFile, match="not protected by a password"):
        p12_scan.scan(signed)
