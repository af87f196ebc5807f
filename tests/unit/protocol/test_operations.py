from __future__ import annotations

from collections import Counter
from importlib import resources

import pytest
from hypothesis import given
from hypothesis import strategies as st

from django_cybs_jwt.exceptions import ConfigurationError
from django_cybs_jwt.protocol import Operations, default_operations

SHIPPED = default_operations()
LINES = [
    line.split(",")
    for line in resources.files("django_cybs_jwt.protocol")
    .joinpath("data/operations.csv")
    .read_text("utf-8")
    .splitlines()
]
ROWS = [tuple(line) for line in LINES[1:]]

every_row = pytest.mark.parametrize(
    ("policy", "method", "path"), ROWS, ids=[" ".join(row[1:]) for row in ROWS]
)


def filled(path: str) -> str:
    """A concrete path of a template: every parameter becomes an id."""
    return "/".join("ab-12" if part.startswith("{") else part for part in path.split("/"))


def test_the_shipped_table_has_the_sdks_counts() -> None:
    assert LINES[0] == ["request_mle", "method", "path"]
    assert Counter(policy for policy, _, _ in ROWS) == {"mandatory": 32, "optional": 70, "off": 120}
    by_method = Counter(method for policy, method, _ in ROWS if policy == "mandatory")
    assert by_method == {"POST": 24, "PUT": 7, "GET": 1}


@pytest.mark.parametrize(
    ("policy", "method", "path"), ROWS, ids=[" ".join(row[1:]) for row in ROWS]
)
def test_each_row_answers_for_its_template_and_for_a_path_with_ids(
    policy: str, method: str, path: str
) -> None:
    assert SHIPPED.policy(method, path) == policy
    assert SHIPPED.policy(method.lower(), filled(path)) == policy
    assert SHIPPED.policy(method, filled(path) + "?a=1&b=/x") == policy


@pytest.mark.parametrize(
    ("method", "path", "policy"),
    [
        ("POST", "/pts/v2/payments", "optional"),
        ("POST", "/pts/v2/payments/7012/refunds", "optional"),
        ("POST", "/tms/v2/tokenize", "mandatory"),
        ("POST", "/bavs/v1/account-validations", "mandatory"),
        ("GET", "/boarding/v1/registrations/7012", "mandatory"),
        ("POST", "/oauth2/v3/token", "off"),
        ("GET", "/reporting/v3/reports", "off"),
    ],
)
def test_well_known_operations_have_their_policy(method: str, path: str, policy: str) -> None:
    assert SHIPPED.policy(method, path) == policy


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "/brand/new/v9"),
        ("GET", "/"),
        ("PATCH", "/tms/v2/tokenize"),
        ("POST", "/tms/v2/tokenize/more"),
        ("POST", "/tms/v2"),
        ("POST", "/TMS/v2/tokens"),
        ("GET", "/REPORTING/v3/reports"),
        ("GET", "/reporting/v3/reports;x=1"),
    ],
)
def test_an_operation_without_a_row_is_optional(method: str, path: str) -> None:
    assert SHIPPED.policy(method, path) == "optional"


@pytest.mark.parametrize(
    "path",
    [
        "/tms/v2/%74okenize",
        "/tms/v2/%74%6F%6b%65%6E%69%7a%65",
        "/%74ms/v2/tokenize",
        "/tms/v2/tokenize/",
        "/tms/v2/tokenize?x=/pts/v2/payments",
        "/TMS/v2/tokenize",
        "/tms/V2/Tokenize/",
        "/tms/v2/tokenize;x=1",
        "/tms;a=b/v2;c/tokenize;",
        "/tms/v2/tokenize%3Bx=1",
        "/Tms/v2/%54okenize%3bX",
        "/tms/v2/%2574okenize",
        "/tms/v2/tokenize%253Bx",
        "/tms/v2/tokenize%20",
        "/tms/v2/tokenize.",
        "/tms/v2/tokenize%3Fa",
        "/tms/v2/tokenize%23a",
        "/tms/v2/tokenize%253Fa=1",
    ],
)
def test_another_spelling_of_a_mandatory_path_is_still_mandatory(path: str) -> None:
    assert SHIPPED.policy("POST", path) == "mandatory"


@given(data=st.data())
def test_no_percent_encoding_escapes_a_mandatory_row(data: st.DataObject) -> None:
    _, method, path = data.draw(st.sampled_from([row for row in ROWS if row[0] == "mandatory"]))
    written = "".join(
        f"%{ord(character):02x}" if character != "/" and data.draw(st.booleans()) else character
        for character in filled(path)
    )
    assert SHIPPED.policy(method, written) == "mandatory"


@given(data=st.data())
def test_neither_case_nor_matrix_parameters_escape_a_mandatory_row(data: st.DataObject) -> None:
    _, method, path = data.draw(st.sampled_from([row for row in ROWS if row[0] == "mandatory"]))
    written = "".join(
        character.swapcase() if data.draw(st.booleans()) else character
        for character in filled(path)
    )
    parameters = data.draw(st.sampled_from(["", ";", ";x=1", "%3bx", ";x=1;y=2", "%3Fx", "%23x"]))
    assert SHIPPED.policy(method, written + parameters) == "mandatory"


def test_another_spelling_makes_a_policy_stricter_and_never_weaker() -> None:
    table = Operations(
        [
            ("GET", "/a/{id}", "off"),
            ("GET", "/a/new", "mandatory"),
            ("GET", "/b/{id}", "mandatory"),
            ("GET", "/b/new", "off"),
        ]
    )
    assert [table.policy("GET", path) for path in ("/a/1", "/a/new", "/a/NEW")] == [
        "off",
        "mandatory",
        "mandatory",
    ]
    assert [table.policy("GET", path) for path in ("/b/new", "/b/NEW", "/b/new;x")] == [
        "off",
        "mandatory",
        "mandatory",
    ]


def test_a_literal_goes_before_a_parameter_in_any_order_of_rows() -> None:
    rows = [
        ("GET", "/a/{id}/c/{x}", "off"),
        ("GET", "/a/new/c/{x}", "mandatory"),
        ("GET", "/{any}/new/{other}/{x}", "optional"),
        ("GET", "/a/old/c/d", "mandatory"),
    ]
    for table in (Operations(rows), Operations(rows[::-1])):  # type: ignore[arg-type]
        assert table.policy("GET", "/a/new/c/1") == "mandatory"
        assert table.policy("GET", "/a/old/c/1") == "off"
        assert table.policy("GET", "/b/new/c/1") == "optional"
        assert table.policy("GET", "/a/old/c/d") == "mandatory"


def test_an_override_changes_one_row_of_a_copy() -> None:
    changed = SHIPPED.overridden({"POST /pts/v2/payments/{anything}/refunds": "off"})
    assert changed.policy("POST", "/pts/v2/payments/1/refunds") == "off"
    assert SHIPPED.policy("POST", "/pts/v2/payments/1/refunds") == "optional"
    for policy, method, path in ROWS:
        if path != "/pts/v2/payments/{id}/refunds":
            assert changed.policy(method, filled(path)) == policy


def test_an_override_can_add_an_operation_and_be_overridden_again() -> None:
    first = SHIPPED.overridden({"PUT /new/v1/things/{id}": "mandatory"})
    second = first.overridden({"PUT /new/v1/things/{id}": "off"})
    assert first.policy("PUT", "/new/v1/things/7") == "mandatory"
    assert second.policy("PUT", "/new/v1/things/7") == "off"


def test_no_override_is_the_same_table() -> None:
    same = SHIPPED.overridden({})
    assert all(same.policy(method, filled(path)) == policy for policy, method, path in ROWS)


@pytest.mark.parametrize(
    "key",
    [
        "/pts/v2/payments",
        "post /pts/v2/payments",
        "POST pts/v2/payments",
        "POST  /pts/v2/payments",
        "POST /pts/v2/payments ",
        "POST /pts/v2 /payments",
        "HEAD /pts/v2/payments",
        "POST /pts/v2/payments?x=1",
        "POST /pts/v2/payments#x",
        "POST /pts/v2/payments/{id",
        "POST /pts/v2/payments/{id}.json",
        "POST /pts/v2/payments/{}",
        "POST /tms/v2/%74okenize",
        "",
    ],
)
def test_an_override_that_could_never_match_is_refused_with_the_right_form(key: str) -> None:
    with pytest.raises(ConfigurationError, match="Write it like 'POST /pts/v2/payments"):
        SHIPPED.overridden({key: "off"})


@pytest.mark.parametrize("policy", ["Mandatory", "required", "false", "", "on"])
def test_a_policy_that_does_not_exist_is_refused_with_those_that_do(policy: str) -> None:
    with pytest.raises(ConfigurationError, match="Use mandatory, optional or off"):
        SHIPPED.overridden({"POST /pts/v2/payments": policy})
