from __future__ import annotations

from datetime import UTC, datetime

import pytest
from cryptography.hazmat.primitives.serialization import Encoding
from hypothesis import given
from hypothesis import strategies as st

from django_cybs_jwt.exceptions import UnreadableKeyFile
from django_cybs_jwt.protocol import certificate_facts
from django_cybs_jwt.protocol.certificate_facts import (
    clean_text,
    find_own,
    read_certificate,
    read_certificates,
)
from django_cybs_jwt.testing import material
from tests.unit.protocol import hostile_files as hostile

NOW = datetime.now(UTC)


@given(text=st.text())
def test_cleaned_text_is_short_and_printable(text: str) -> None:
    cleaned = clean_text(text)
    assert len(cleaned) <= 256
    assert cleaned.isprintable()


@pytest.mark.parametrize(
    ("text", "cleaned"),
    [
        ("acme_001", "acme_001"),
        ("M\u00fcller & S\u00f6hne", "M\u00fcller & S\u00f6hne"),
        ("a\u202eb", "a\ufffdb"),
        ("a\u200bb", "a\ufffdb"),
        ("a\0b\r\n", "a\ufffdb\ufffd\ufffd"),
        ("<script>", "<script>"),
        ("x" * 257, "x" * 253 + "..."),
    ],
)
def test_hidden_characters_are_marked_and_others_kept(text: str, cleaned: str) -> None:
    assert clean_text(text) == cleaned


def test_a_certificate_that_nobody_can_read_is_left_out_with_a_notice() -> None:
    good = hostile.certificate()
    encoded = good.public_bytes(Encoding.DER)
    found, notices = read_certificates([encoded, encoded[:-20], b""])
    assert found == [good]
    assert notices == ("Certificates left out as unreadable: 2.",)
    with pytest.raises(UnreadableKeyFile, match="certificate is damaged"):
        read_certificate(encoded[:-20])


def test_a_certificate_with_a_key_that_nobody_supports_is_refused() -> None:
    encoded = hostile.certificate().public_bytes(Encoding.DER)
    odd = hostile.replaced(encoded, hostile.RSA_ENCRYPTION, hostile.oid("1.2.3.4"))
    with pytest.raises(UnreadableKeyFile):
        read_certificate(odd)


def test_no_certificate_of_the_key_is_no_certificate() -> None:
    assert find_own([material.issuer_certificate()], hostile.key(), NOW) is None


def test_facts_tell_the_size_of_rsa_keys_only() -> None:
    facts = certificate_facts.CertificateFacts.from_x509(hostile.elliptic_certificate(), "other")
    assert facts.key_size is None
    assert len(facts.fingerprint) == 64
