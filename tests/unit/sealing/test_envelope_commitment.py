"""A blob whose tags are valid under two keys: GCM allows it, the commitment does not."""

from __future__ import annotations

import os
from dataclasses import replace

import pytest
from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.algorithms import AES
from cryptography.hazmat.primitives.ciphers.modes import CTR, ECB

from django_cybs_jwt.exceptions import SecretIntegrityError
from django_cybs_jwt.sealing import KeyRing, open_blob
from tests.unit.sealing.sealing_samples import HOME, MATERIAL, ring_mapping
from tests.unit.sealing.spec_envelope import Blob

REDUCTION = 0xE1 << 120
BOUND = HOME.encode()
KEKS = (MATERIAL["new"], MATERIAL["old"])


def multiply(x: int, y: int) -> int:
    """In GF(2^128) with GCM's order of bits."""
    product = 0
    for bit in range(127, -1, -1):
        if x >> bit & 1:
            product ^= y
        y = y >> 1 ^ (REDUCTION if y & 1 else 0)
    return product


def invert(x: int) -> int:
    """x to the power 2^128 - 2."""
    result, square = 1 << 127, x
    for _ in range(127):
        square = multiply(square, square)
        result = multiply(result, square)
    return result


def blocks(data: bytes) -> list[int]:
    padded = data + bytes(-len(data) % 16)
    return [int.from_bytes(padded[i : i + 16]) for i in range(0, len(padded), 16)]


def block_cipher(key: bytes, block: bytes) -> int:
    encryptor = Cipher(AES(key), ECB()).encryptor()  # noqa: S305
    return int.from_bytes(encryptor.update(block))


def tag(key: bytes, nonce: bytes, ciphertext: bytes, aad: bytes) -> int:
    subkey, total = block_cipher(key, bytes(16)), 0
    lengths = (len(aad) * 8).to_bytes(8) + (len(ciphertext) * 8).to_bytes(8)
    for block in blocks(aad) + blocks(ciphertext) + blocks(lengths):
        total = multiply(total ^ block, subkey)
    return total ^ block_cipher(key, nonce + b"\x00\x00\x00\x01")


def sealed_for_both(keys: tuple[bytes, bytes], nonce: bytes, aad: bytes) -> bytes:
    """32 bytes of ciphertext and one tag that is valid under both *keys*."""
    first_block = os.urandom(16)
    gap = coefficient = 0
    for key in keys:
        subkey = block_cipher(key, bytes(16))
        gap ^= tag(key, nonce, first_block + bytes(16), aad)
        coefficient ^= multiply(subkey, subkey)  # the last block counts with its square
    ciphertext = first_block + multiply(gap, invert(coefficient)).to_bytes(16)
    return ciphertext + tag(keys[0], nonce, ciphertext, aad).to_bytes(16)


def decrypt_unchecked(key: bytes, nonce: bytes, sealed: bytes) -> bytes:
    counter = nonce + b"\x00\x00\x00\x02"
    return Cipher(AES(key), CTR(counter)).decryptor().update(sealed[:-16])


def two_faced_blob(commit_to: int | None) -> Blob:
    """Valid tags under both KEKs; *commit_to* says to whose data key it pretends to commit."""
    blob = Blob(kek_id=b"new", salt=os.urandom(32), commitment=os.urandom(32))
    wrap_keys = (blob.wrap_key(KEKS[0]), blob.wrap_key(KEKS[1]))
    wrapped = sealed_for_both(wrap_keys, blob.wrap_nonce, blob.header + BOUND)
    data_keys = [decrypt_unchecked(key, blob.wrap_nonce, wrapped) for key in wrap_keys]
    blob = replace(blob, wrapped_key=wrapped)
    if commit_to is not None:
        blob = replace(blob, commitment=blob.commitment_to(data_keys[commit_to]))
    keys = (blob.encryption_key(data_keys[0]), blob.encryption_key(data_keys[1]))
    return replace(blob, sealed=sealed_for_both(keys, blob.nonce, blob.payload_aad(BOUND)))


def ring_with(kek: bytes) -> KeyRing:
    """Two installations that know different material under one id."""
    mapping = ring_mapping()
    if kek == KEKS[1]:
        new, old = mapping["keys"]["new"], mapping["keys"]["old"]
        new["key"], old["key"] = old["key"], new["key"]
    return KeyRing.from_mapping(mapping)


def test_without_the_commitment_one_blob_would_open_to_two_plaintexts():
    """The attack is real: a reader that skips the commitment accepts the blob twice."""
    blob = two_faced_blob(commit_to=None)

    plaintexts = [blob.plaintext(blob.data_key(kek, BOUND), BOUND) for kek in KEKS]

    assert plaintexts[0] != plaintexts[1]


@pytest.mark.parametrize("kek", KEKS, ids=["first", "second"])
def test_a_blob_made_to_open_under_two_keys_opens_under_neither(kek):
    blob = two_faced_blob(commit_to=None).join()

    with pytest.raises(SecretIntegrityError) as caught:
        open_blob(blob, context=HOME, ring=ring_with(kek))

    assert caught.value.facts["part"] == "commitment"


@pytest.mark.parametrize("kek", KEKS, ids=["first", "second"])
@pytest.mark.parametrize("commit_to", [0, 1])
def test_a_commitment_put_in_afterwards_breaks_the_wrapped_key(kek, commit_to):
    """The wrapped key authenticates the commitment, so it cannot be chosen after the data key."""
    blob = two_faced_blob(commit_to).join()

    with pytest.raises(SecretIntegrityError) as caught:
        open_blob(blob, context=HOME, ring=ring_with(kek))

    assert caught.value.facts["part"] == "data key"
