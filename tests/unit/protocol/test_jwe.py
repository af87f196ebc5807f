from __future__ import annotations

import gc
import json
import subprocess
import sys
import weakref
import zlib
from pathlib import Path
from typing import Any

import joserfc.jwe
import pytest
from cryptography.hazmat.primitives import hashes
from hypothesis import given
from hypothesis import strategies as st
from joserfc.jwk import RSAKey

from django_cybs_jwt.exceptions import MLEDecryptError
from django_cybs_jwt.protocol import ResponseKey, jwe
from django_cybs_jwt.testing import material
from tests.unit.protocol import bare_jose
from tests.unit.protocol.protocol_samples import (
    GATEWAY_KID,
    GATEWAY_RSA,
    NOW,
    RESPONSE,
    RESPONSE_KID,
    RESPONSE_RSA,
    certificate,
)

KEYS = {RESPONSE_KID: RESPONSE}
MIB = 1024 * 1024
FITTING = bare_jose.encrypt(RESPONSE_RSA.public_key(), b"{}", bare_jose.header(RESPONSE_KID))


def forge(plaintext: bytes = b"{}", **arguments: Any) -> str:
    head = arguments.pop("head", None) or bare_jose.header(RESPONSE_KID)
    return bare_jose.encrypt(RESPONSE_RSA.public_key(), plaintext, head, **arguments)


@given(plaintext=st.binary(min_size=1, max_size=300))
def test_what_we_encrypt_bare_cryptography_opens(plaintext: bytes) -> None:
    token = jwe.encrypt(plaintext, certificate(), now=NOW)
    head, opened = bare_jose.decrypt(GATEWAY_RSA, token)
    assert opened == plaintext
    assert head == {
        "alg": "RSA-OAEP-256",
        "enc": "A256GCM",
        "kid": GATEWAY_KID,
        "iat": int(NOW.timestamp()),
    }


@given(plaintext=st.binary(min_size=1, max_size=300))
def test_what_bare_cryptography_encrypts_we_open(plaintext: bytes) -> None:
    assert jwe.decrypt(forge(plaintext), KEYS) == (plaintext, RESPONSE_KID)


@given(plaintext=st.binary(min_size=1, max_size=300))
def test_what_joserfc_encrypts_we_open(plaintext: bytes) -> None:
    key = RSAKey.import_key(RESPONSE_RSA.public_key())
    algorithms = [jwe.ALGORITHM, jwe.ENCRYPTION]
    head = {"alg": jwe.ALGORITHM, "enc": jwe.ENCRYPTION, "kid": RESPONSE_KID}
    token = joserfc.jwe.encrypt_compact(head, plaintext, key, algorithms)
    assert jwe.decrypt(token, KEYS) == (plaintext, RESPONSE_KID)


def test_the_content_type_is_written_when_it_is_asked_for() -> None:
    token = jwe.encrypt(b"{}", certificate(), now=NOW, content_type="JWT")
    assert bare_jose.decrypt(GATEWAY_RSA, token)[0]["cty"] == "JWT"


def test_one_plaintext_never_gives_one_part_twice() -> None:
    first, second = (jwe.encrypt(b"{}", certificate(), now=NOW).split(".") for _ in range(2))
    assert first[0] == second[0]
    assert not set(first[1:]) & set(second[1:])


@pytest.mark.parametrize("bits", [2048, 3072, 4096])
def test_every_size_of_key_that_we_store_opens_replies(bits: int) -> None:
    private = material.rsa_key(bits, name=f"response of {bits} bits")
    key = ResponseKey(owner="acme_001", kid="1", private_key=private)
    token = bare_jose.encrypt(private.public_key(), b"[]", bare_jose.header("1"))
    assert jwe.decrypt(token, {"1": key}) == (b"[]", "1")


def test_the_kid_picks_the_key_among_several() -> None:
    other = material.rsa_key(name="protocol gateway")
    keys = {**KEYS, "2": ResponseKey(owner="acme_001", kid="2", private_key=other)}
    token = bare_jose.encrypt(other.public_key(), b"{}", bare_jose.header("2"))
    assert jwe.decrypt(token, keys) == (b"{}", "2")
    assert jwe.decrypt(FITTING, keys) == (b"{}", RESPONSE_KID)


@pytest.mark.parametrize(
    "changes",
    [
        {"iat": ...},
        {"cty": "JWT"},
        {"typ": "JOSE"},
        {"x-unknown": {"a": [1, 2]}},
        {"pad": "x" * 800},
    ],
    ids=lambda changes: next(iter(changes)),
)
def test_a_header_may_have_fewer_and_other_members(changes: dict[str, Any]) -> None:
    assert jwe.decrypt(forge(head=bare_jose.header(RESPONSE_KID, **changes)), KEYS)[0] == b"{}"


@pytest.mark.parametrize(
    "text",
    [
        '{"iat":1,"kid":"KID","enc":"A256GCM","alg":"RSA-OAEP-256"}',
        ' {\n "alg" : "RSA-OAEP-256",\t"enc":"A256GCM", "kid": "KID" } ',
        '{"alg":"RSA-OAEP-256","enc":"A256GCM","cty":"application\\/json","kid":"KID"}',
        '{"alg":"RSA\\u002dOAEP-256","enc":"A256GCM","kid":"KID","x":"\u00fc"}',
    ],
    ids=["order", "white space", "escaped slash", "escaped letter"],
)
def test_the_tag_covers_the_header_as_it_was_written_and_not_as_we_would_write_it(
    text: str,
) -> None:
    token = forge(head=text.replace("KID", RESPONSE_KID).encode())
    assert jwe.decrypt(token, KEYS)[0] == b"{}"


@pytest.mark.parametrize("size", [1, 70_000, 1_000_000, 8 * MIB])
def test_replies_up_to_eight_mebibytes_open(size: int) -> None:
    plaintext = b"x" * size
    assert jwe.decrypt(forge(plaintext), KEYS)[0] == plaintext


def test_a_longer_token_is_refused_though_it_would_open() -> None:
    token = forge(b"x" * (9 * MIB))
    assert len(token) > jwe.LONGEST_TOKEN
    with pytest.raises(MLEDecryptError):
        jwe.decrypt(token, KEYS)


@pytest.mark.parametrize("size", [70_000, 8 * MIB])
def test_requests_as_long_as_a_body_may_be_are_encrypted(size: int) -> None:
    token = jwe.encrypt(b"x" * size, certificate(), now=NOW)
    assert len(bare_jose.decrypt(GATEWAY_RSA, token)[1]) == size


# Published examples: RFC 7516 A.1 (RSA-OAEP), A.2 (RSA1_5), A.3 (A128KW), RFC 7520 5.2 (RSA-OAEP).
PUBLISHED = {
    "RFC 7516 A.1": (
        "eyJhbGciOiJSU0EtT0FFUCIsImVuYyI6IkEyNTZHQ00ifQ."
        "OKOawDo13gRp2ojaHV7LFpZcgV7T6DVZKTyKOMTYUmKoTCVJRgckCL9kiMT03JGe"
        "ipsEdY3mx_etLbbWSrFr05kLzcSr4qKAq7YN7e9jwQRb23nfa6c9d-StnImGyFDb"
        "Sv04uVuxIp5Zms1gNxKKK2Da14B8S4rzVRltdYwam_lDp5XnZAYpQdb76FdIKLaV"
        "mqgfwX7XWRxv2322i-vDxRfqNzo_tETKzpVLzfiwQyeyPGLBIO56YJ7eObdv0je8"
        "1860ppamavo35UgoRdbYaBcoh9QcfylQr66oc6vFWXRcZ_ZT2LawVCWTIy3brGPi"
        "6UklfCpIMfIjf7iGdXKHzg.48V1_ALb6US04U3b."
        "5eym8TW_c8SuK0ltJ3rpYIzOeDQz7TALvtu6UG9oMo4vpzs9tX_EFShS8iB7j6ji"
        "SdiwkIr3ajwQzaBtQD_A.XFBoMYUZodetZdvTiFvSkQ"
    ),
    "RFC 7516 A.2": (
        "eyJhbGciOiJSU0ExXzUiLCJlbmMiOiJBMTI4Q0JDLUhTMjU2In0."
        "UGhIOguC7IuEvf_NPVaXsGMoLOmwvc1GyqlIKOK1nN94nHPoltGRhWhw7Zx0-kFm"
        "1NJn8LE9XShH59_i8J0PH5ZZyNfGy2xGdULU7sHNF6Gp2vPLgNZ__deLKxGHZ7Pc"
        "HALUzoOegEI-8E66jX2E4zyJKx-YxzZIItRzC5hlRirb6Y5Cl_p-ko3YvkkysZIF"
        "NPccxRU7qve1WYPxqbb2Yw8kZqa2rMWI5ng8OtvzlV7elprCbuPhcCdZ6XDP0_F8"
        "rkXds2vE4X-ncOIM8hAYHHi29NX0mcKiRaD0-D-ljQTP-cFPgwCp6X-nZZd9OHBv"
        "-B3oWh2TbqmScqXMR4gp_A.AxY8DCtDaGlsbGljb3RoZQ."
        "KDlTtXchhZTGufMYmOYGS4HffxPSUrfmqCHXaI9wOGY.9hH0vgRfYgPnAHOd8stkvw"
    ),
    "RFC 7516 A.3": (
        "eyJhbGciOiJBMTI4S1ciLCJlbmMiOiJBMTI4Q0JDLUhTMjU2In0."
        "6KB707dM9YTIgHtLvtgWQ8mKwboJW3of9locizkDTHzBC2IlrT1oOQ."
        "AxY8DCtDaGlsbGljb3RoZQ."
        "KDlTtXchhZTGufMYmOYGS4HffxPSUrfmqCHXaI9wOGY.U0m_YmjN04DJvceFICbCVQ"
    ),
    "RFC 7520 5.2": (
        "eyJhbGciOiJSU0EtT0FFUCIsImtpZCI6InNhbXdpc2UuZ2FtZ2VlQGhvYmJpdG9uLmV4YW1wbGUiLCJlbmMiOiJB"
        "MjU2R0NNIn0."
        "rT99rwrBTbTI7IJM8fU3Eli7226HEB7IchCxNuh7lCiud48LxeolRdtFF4nzQibeYOl5S_PJsAXZwSXtDePz9hk-"
        "BbtsTBqC2UsPOdwjC9NhNupNNu9uHIVftDyucvI6hvALeZ6OGnhNV4v1zx2k7O1D89mAzfw-_kT3tkuorpDU-CpB"
        "ENfIHX1Q58-Aad3FzMuo3Fn9buEP2yXakLXYa15BUXQsupM4A1GD4_H4Bd7V3u9h8Gkg8BpxKdUV9ScfJQTcYm6e"
        "JEBz3aSwIaK4T3-dwWpuBOhROQXBosJzS1asnuHtVMt2pKIIfux5BC6huIvmY7kzV7W7aIUrpYm_3H4zYvyMeq5p"
        "GqFmW2k8zpO878TRlZx7pZfPYDSXZyS0CfKKkMozT_qiCwZTSz4duYnt8hS4Z9sGthXn9uDqd6wycMagnQfOTs_l"
        "ycTWmY-aqWVDKhjYNRf03NiwRtb5BE-tOdFwCASQj3uuAgPGrO2AWBe38UjQb0lvXn1SpyvYZ3WFc7WOJYaTa7A8"
        "DRn6MC6T-xDmMuxC0G7S2rscw5lQQU06MvZTlFOt0UvfuKBa03cxA_nIBIhLMjY2kOTxQMmpDPTr6Cbo8aKaOnx6"
        "ASE5Jx9paBpnNmOOKH35j_QlrQhDWUN6A2Gg8iFayJ69xDEdHAVCGRzN3woEI2ozDRs.-nBoKLH0YkLZPSI9."
        "o4k2cnGN8rSSw3IDo1YuySkqeS_t2m1GXklSgqBdpACm6UJuJowOHC5ytjqYgRL-I-soPlwqMUf4UgRWWeaOGNw6"
        "vGW-xyM01lTYxrXfVzIIaRdhYtEMRBvBWbEwP7ua1DRfvaOjgZv6Ifa3brcAM64d8p5lhhNcizPersuhw5f-pGYz"
        "seva-TUaL8iWnctc-sSwy7SQmRkfhDjwbz0fz6kFovEgj64X1I5s7E6GLp5fnbYGLa1QUiML7Cc2GxgvI7zqWo0Y"
        "IEc7aCflLG1-8BboVWFdZKLK9vNoycrYHumwzKluLWEbSVmaPpOslY2n525DxDfWaVFUfKQxMF56vn4B9QMpWAbn"
        "ypNimbM8zVOw.UCGiqJxhBI3IFVdPalHHvA"
    ),
}


@pytest.mark.parametrize("name", PUBLISHED)
def test_published_examples_under_other_algorithms_are_refused(name: str) -> None:
    named = json.loads(bare_jose.unb64(PUBLISHED[name].partition(".")[0]))
    keys = {named.get("kid", ""): RESPONSE}
    assert named["alg"] != "RSA-OAEP-256"
    with pytest.raises(MLEDecryptError):
        jwe.decrypt(PUBLISHED[name], keys)


@pytest.mark.parametrize(
    "pad", [bare_jose.SHA1_OAEP, bare_jose.oaep(hashes.SHA384())], ids=["1", "384"]
)
def test_another_hash_in_the_padding_does_not_open_under_our_name(pad: Any) -> None:
    with pytest.raises(MLEDecryptError):
        jwe.decrypt(forge(pad=pad), KEYS)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=9), inner),
    max_leaves=5,
)
NAMES = st.sampled_from(
    [
        *("alg", "enc", "kid", "iat", "zip", "crit", "b64", "cty", "typ", "use", "key_ops"),
        *("jku", "jwk", "x5u", "x5c", "x5t", "x5t#S256", "epk", "apu", "apv", "p2s", "p2c"),
        *("tag", "iv", "exp", "nbf"),
    ]
)


@given(changes=st.dictionaries(NAMES | st.text(max_size=9), JSON, max_size=4))
def test_whatever_a_header_says_the_token_opens_or_is_refused(changes: dict[str, Any]) -> None:
    token = forge(head=bare_jose.header(RESPONSE_KID, **changes))
    try:
        opened, _ = jwe.decrypt(token, KEYS)
    except MLEDecryptError:
        return
    assert opened == b"{}"


@given(position=st.integers(0, len(FITTING) - 1), character=st.sampled_from("AZaz09-_.=+/ \n\xe9"))
def test_a_token_with_one_other_character_is_refused(position: int, character: str) -> None:
    if FITTING[position] == character:
        return
    with pytest.raises(MLEDecryptError):
        jwe.decrypt(FITTING[:position] + character + FITTING[position + 1 :], KEYS)


@given(length=st.integers(0, len(FITTING) - 1))
def test_the_beginning_of_a_token_is_refused(length: int) -> None:
    with pytest.raises(MLEDecryptError):
        jwe.decrypt(FITTING[:length], KEYS)


@given(text=st.text())
def test_any_text_is_refused_in_one_sentence(text: str) -> None:
    with pytest.raises(MLEDecryptError) as caught:
        jwe.decrypt(text, KEYS)
    assert str(caught.value) == str(MLEDecryptError())


def test_the_facts_tell_which_key_is_missing_and_the_message_does_not() -> None:
    with pytest.raises(MLEDecryptError) as caught:
        jwe.decrypt(FITTING, {})
    assert caught.value.facts == {"kid": RESPONSE_KID, "known": False}
    assert RESPONSE_KID not in str(caught.value)


def test_a_prepared_key_goes_when_its_certificate_goes() -> None:
    gc.collect()
    before = len(jwe._public)
    own = certificate()
    jwe.encrypt(b"{}", own, now=NOW)
    jwe.encrypt(b"{}", own, now=NOW)
    alive, prepared = weakref.ref(own), weakref.ref(jwe._public[own])
    assert len(jwe._public) == before + 1
    del own
    gc.collect()
    assert alive() is prepared() is None
    assert len(jwe._public) == before


def flipped(part: int) -> str:
    """The fitting token with one bit changed in one of its parts."""
    parts = FITTING.split(".")
    data = bytearray(bare_jose.unb64(parts[part]))
    data[len(data) // 2] ^= 1
    parts[part] = bare_jose.b64(bytes(data))
    return ".".join(parts)


class Counting:
    """A private key that counts what it is asked for."""

    def __init__(self) -> None:
        self.public_key = RESPONSE_RSA.public_key
        self.decrypted = 0

    def decrypt(self, *arguments: Any) -> bytes:
        self.decrypted += 1
        return RESPONSE_RSA.decrypt(*arguments)


@pytest.mark.parametrize("part", [1, 4], ids=["encrypted key", "tag"])
def test_a_broken_key_and_a_broken_tag_cost_the_same_one_rsa_operation(part: int) -> None:
    """It is all that takes time; by the clock nobody learns which of the two was broken."""
    counting: Any = Counting()
    key = ResponseKey(owner="acme_001", kid=RESPONSE_KID, private_key=counting)
    with pytest.raises(MLEDecryptError):
        jwe.decrypt(flipped(part), {RESPONSE_KID: key})
    assert counting.decrypted == 1


BOMB = """
import sys
from tests.unit.protocol.test_jwe import FITTING, KEYS, jwe, MLEDecryptError, peak_memory

bomb = sys.stdin.read()
jwe.decrypt(FITTING, KEYS)
before = peak_memory()
try:
    jwe.decrypt(bomb, KEYS)
except MLEDecryptError:
    print(peak_memory() - before)
"""


def peak_memory() -> int:
    """The most memory that this process ever held, in bytes."""
    status = Path("/proc/self/status").read_text("ascii")
    return int(status.split("VmHWM:")[1].split()[0]) * 1024


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="needs Linux's /proc")
def test_a_bomb_is_refused_before_it_unfolds() -> None:
    deflate = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
    packed = deflate.compress(b" " * (50 * MIB)) + deflate.flush()
    bomb = forge(packed, head=bare_jose.header(RESPONSE_KID, zip="DEF"))
    assert len(bomb) < 100_000
    grown = subprocess.run(
        [sys.executable, "-c", BOMB],
        input=bomb,
        capture_output=True,
        text=True,
        check=True,
        cwd=Path(__file__).parents[3],
    ).stdout
    assert int(grown) < 5 * MIB
