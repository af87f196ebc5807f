from __future__ import annotations

import pytest
from cryptography.hazmat.primitives.serialization import Encoding
from hypothesis import given
from hypothesis import strategies as st

from django_cybs_jwt.exceptions import UnreadableKeyFile
from django_cybs_jwt.protocol import der
from django_cybs_jwt.protocol.der import encode
from django_cybs_jwt.testing import material

ONE = encode(der.INTEGER, b"\1")


@given(content=st.binary(max_size=70_000))
def test_what_is_encoded_is_parsed_back(content: bytes) -> None:
    element = der.parse(encode(der.OCTET_STRING, content))
    assert (element.tag, element.content) == (der.OCTET_STRING, content)


@given(data=st.binary(max_size=200))
def test_any_bytes_are_read_exactly_or_refused_with_the_one_error(data: bytes) -> None:
    try:
        elements = der.read_all(data)
    except UnreadableKeyFile:
        return
    assert b"".join(encode(e.tag, e.content) for e in elements) == data


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(b"", id="nothing"),
        pytest.param(b"\x30", id="no length"),
        pytest.param(b"\x30\x82\x01", id="length cut off"),
        pytest.param(b"\x30\x05\x02\x01", id="content cut off"),
        pytest.param(b"\x30\xff" + b"\x01" * 127, id="length of 127 bytes"),
        pytest.param(b"\x30\x80\x02\x01\x01\x00\x00", id="indefinite length"),
        pytest.param(b"\x30\x81\x03\x02\x01\x01", id="long form of a short length"),
        pytest.param(b"\x30\x82\x00\x80" + b"\0" * 128, id="length with a leading zero"),
        pytest.param(b"\x24\x03\x04\x01\x00", id="octet string in pieces"),
        pytest.param(b"\x1f\x81\x01\x00", id="tag of several bytes"),
        pytest.param(ONE + b"\0", id="one byte after the end"),
    ],
)
def test_what_is_not_one_element_of_der_is_refused(data: bytes) -> None:
    with pytest.raises(UnreadableKeyFile):
        der.parse(data)


def test_the_depth_limit_stands_at_32_levels() -> None:
    def nested(levels: int) -> der.Element:
        data = ONE
        for _ in range(levels - 1):
            data = encode(der.SEQUENCE, data)
        return der.parse(data)

    assert len(list(der.walk(nested(32)))) == 32
    with pytest.raises(UnreadableKeyFile, match="nested more deeply"):
        list(der.walk(nested(33)))


@pytest.mark.parametrize("children", [10_000, 10_001])
def test_more_than_10_000_elements_are_refused(children: int) -> None:
    with pytest.raises(UnreadableKeyFile, match="made of more pieces"):
        list(der.walk(der.parse(encode(der.SEQUENCE, ONE * children))))


def test_octet_strings_are_leaves_because_random_bytes_can_look_like_der() -> None:
    wrapped = encode(der.OCTET_STRING, ONE)
    looks_like_a_set = encode(der.OCTET_STRING, b"\x31\x02\xff\xff")
    root = der.parse(encode(der.SEQUENCE, wrapped, looks_like_a_set))
    assert [e.encoded for e in der.walk(root)] == [root.encoded, wrapped, looks_like_a_set]


@pytest.mark.parametrize(
    ("dotted", "content"),
    [
        ("2.5.4.5", "550405"),
        ("1.2.840.113549.1.7.1", "2a864886f70d010701"),
        ("1.3.6.1.4.1.11591.4.11", "2b06010401da47040b"),
        ("2.16.840.1.101.3.4.1.42", "60864801650304012a"),
    ],
)
def test_object_identifiers_are_written_as_x690_says(dotted: str, content: str) -> None:
    assert der.object_identifier(dotted).hex() == content


@pytest.mark.parametrize("value", [0, 1, 127, 128, -1, 2**31 - 1, 2**70])
def test_integers_are_read_with_their_sign(value: int) -> None:
    content = value.to_bytes(value.bit_length() // 8 + 1, signed=True)
    assert der.parse(encode(der.INTEGER, content)).integer() == value


@pytest.mark.parametrize("data", [encode(der.INTEGER), encode(der.OCTET_STRING, b"\1")])
def test_what_is_not_an_integer_has_no_value(data: bytes) -> None:
    with pytest.raises(UnreadableKeyFile):
        der.parse(data).integer()


def test_a_certificate_is_read_to_its_leaves() -> None:
    found = material.issuer_certificate()
    root = der.parse(found.public_bytes(Encoding.DER))
    serials = [e.integer() for e in der.walk(root) if e.tag == der.INTEGER]
    assert found.serial_number in serials


def test_an_expected_shape_that_is_not_there_is_refused() -> None:
    element = der.parse(encode(der.SEQUENCE, ONE))
    assert element.expect(der.INTEGER)[0].integer() == 1
    with pytest.raises(UnreadableKeyFile):
        element.expect(der.INTEGER, der.SEQUENCE)
