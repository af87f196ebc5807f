from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from django_cybs_jwt.exceptions import InvalidHost
from django_cybs_jwt.protocol.hosts import PRESETS, Host, is_live, parse_host


@pytest.mark.parametrize("host", PRESETS.values(), ids=lambda host: host.name)
def test_a_preset_is_a_valid_host_that_knows_its_side(host: Host) -> None:
    assert parse_host(host.name) == host.name
    assert is_live(host.name) is host.live
    assert host.live is not ("test" in host.name)


def test_every_brand_has_a_live_host_and_all_but_india_a_test_host() -> None:
    sides: dict[str, set[bool]] = {host.brand: set() for host in PRESETS.values()}
    for host in PRESETS.values():
        sides[host.brand].add(host.live)
    assert len(sides) == 7
    assert sides.pop("Cybersource India") == {True}
    assert all(both == {True, False} for both in sides.values())


def test_the_side_is_known_in_capitals_too() -> None:
    assert is_live("API.Cybersource.COM") is True


@pytest.mark.parametrize("name", ["localhost", "gateway.example.com", ""])
def test_the_side_of_another_host_is_unknown(name: str) -> None:
    assert is_live(name) is None


@pytest.mark.parametrize(
    ("name", "parsed"),
    [
        ("apitest.cybersource.com", "apitest.cybersource.com"),
        ("ApiTest.CyberSource.COM", "apitest.cybersource.com"),
        ("a.b", "a.b"),
        ("gw.dev1", "gw.dev1"),
        ("1.a", "1.a"),
        ("xn--bcher-kva.example", "xn--bcher-kva.example"),
        ("a" * 63 + ".example", "a" * 63 + ".example"),
        (".".join(["a" * 49] * 5) + ".ab", ".".join(["a" * 49] * 5) + ".ab"),
    ],
)
def test_a_dns_name_is_read_in_lower_case(name: str, parsed: str) -> None:
    assert parse_host(name) == parsed


@pytest.mark.parametrize(
    "name",
    [
        "",
        ".",
        "localhost",
        "https://apitest.cybersource.com",
        "http:apitest.cybersource.com",
        "//apitest.cybersource.com",
        "apitest.cybersource.com/",
        "apitest.cybersource.com/pts",
        "apitest.cybersource.com?x",
        "apitest.cybersource.com#x",
        "apitest.cybersource.com:443",
        "apitest.cybersource.com.",
        ".apitest.cybersource.com",
        "apitest..cybersource.com",
        "me@apitest.cybersource.com",
        "apitest.cybersource.com@example.com",
        "apitest.cybersource.com\\example.com",
        " apitest.cybersource.com",
        "apitest.cybersource.com ",
        "apitest.cybersource.com\n",
        "apitest.cybersource.com\0",
        "api test.cybersource.com",
        "api%74est.cybersource.com",
        "-a.example",
        "a-.example",
        "a_b.example",
        "a.-b",
        "*.cybersource.com",
        "a" * 64 + ".example",
        ".".join(["a" * 49] * 5) + ".abcd",
        "b\u00fccher.example",
        "apitest.cybersource\uff0ecom",
        "apitest.cybersource\u3002com",
        "ban\u212aofamerica.com",
        "1.2.3.4",
        "127.1",
        "0x7f.1",
        "0x7f.0x1",
        "127.0.0.0xf",
        "2130706433",
        "[::1]",
        "::1",
        "fe80::1%eth0",
        "[v1.x]",
    ],
)
def test_what_is_no_bare_dns_name_is_refused_and_the_right_form_is_shown(name: str) -> None:
    with pytest.raises(InvalidHost, match=r"like apitest\.cybersource\.com"):
        parse_host(name)


def test_a_refusal_quotes_only_the_beginning_of_what_was_given() -> None:
    with pytest.raises(InvalidHost) as caught:
        parse_host("/" * 10_000)
    assert len(str(caught.value)) < 200


@given(name=st.one_of(st.text(), st.from_regex(r"[A-Za-z0-9.:/@-]{1,80}", fullmatch=True)))
def test_any_text_is_a_lower_case_dns_name_or_refused(name: str) -> None:
    try:
        parsed = parse_host(name)
    except InvalidHost:
        return
    assert parsed == name.lower()
    assert re.fullmatch(r"[a-z0-9.-]+\.[a-z][a-z0-9-]*", parsed)
    assert parse_host(parsed) == parsed
