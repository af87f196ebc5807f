"""The second line of defence in logs: masks, and JSON of what is allowed."""

from __future__ import annotations

import io
import json
import logging
from collections.abc import Iterator
from typing import Any

import pytest

from django_cybs_jwt.logs import JsonFormatter, MaskingFilter, mask

TOKEN = "eyJhbGciOiJSUzI1NiJ9.eyJpYXQiOjE3fQ.c2lnbmF0dXJl"
CARDS = [
    "4111111111111111",
    "4111 1111 1111 1111",
    "5555-5555-5555-4444",
    "378282246310005",
    "6011000990139424",
    "4222222222222",
    "6304000000000000000"[:-1] + "0",
]


@pytest.fixture
def out() -> io.StringIO:
    return io.StringIO()


@pytest.fixture
def logger(out: io.StringIO) -> Iterator[logging.Logger]:
    handler = logging.StreamHandler(out)
    handler.addFilter(MaskingFilter())
    found = logging.getLogger("tests.masked")
    found.addHandler(handler)
    found.setLevel(logging.DEBUG)
    found.propagate = False
    yield found
    found.removeHandler(handler)
    found.propagate = True


def luhn(number: str) -> str:
    """*number* with its last digit made a check digit."""
    for last in "0123456789":
        digits = [int(each) for each in number[:-1] + last]
        doubled = [sum(divmod(each * 2, 10)) for each in digits[-2::-2]]
        if (sum(digits[::-2]) + sum(doubled)) % 10 == 0:
            return number[:-1] + last
    raise AssertionError


@pytest.mark.parametrize("card", [*CARDS[:6], luhn("6304000000000000000")])
@pytest.mark.parametrize("around", ["{}", "number={}", '{{"number":"{}"}}', "({})", "a {}, b"])
def test_card_numbers_are_masked_but_for_their_end(card: str, around: str) -> None:
    shown = mask(around.format(card))
    assert card not in shown
    assert f"[card …{card[-4:]}]" in shown


@pytest.mark.parametrize(
    "text",
    [
        "4111111111111112",  # no check digit
        "order 12345",
        "0000000000000000",
        "2026-11-22T07:37:00.123456",
        "41111111-1111-1111-8111-111111111111",
        "7123456789016543210042",  # 22 digits: an id of the gateway
        "v4111111111111111",
    ],
)
def test_what_is_no_card_number_stays(text: str) -> None:
    assert mask(text) == text


def test_tokens_are_masked() -> None:
    shown = mask(f"Authorization: Bearer {TOKEN}")
    assert shown == "Authorization: Bearer [token]"


def test_message_arguments_and_traceback_are_masked(
    logger: logging.Logger, out: io.StringIO
) -> None:
    try:
        raise ValueError(f"bad card {CARDS[0]}")
    except ValueError:
        logger.exception("payment %s of %s with %s", 7, {"number": CARDS[1]}, TOKEN)
    text = out.getvalue()
    assert "payment 7" in text
    assert "ValueError: bad card [card …1111]" in text
    assert "test_logs.py" in text
    for secret in (CARDS[0], CARDS[1], TOKEN):
        assert secret not in text


def test_arguments_that_do_not_fit_do_not_break_logging(
    logger: logging.Logger, out: io.StringIO
) -> None:
    logger.info("%d of %s", CARDS[0])  # noqa: PLE1206  # the point
    assert "%d of %s" in out.getvalue()


def test_json_has_what_is_allowed_and_nothing_else(
    logger: logging.Logger, out: io.StringIO
) -> None:
    logger.handlers[0].setFormatter(JsonFormatter())
    extra: dict[str, Any] = {"cybs": {"request": "1", "card": CARDS[0]}, "password": "hunter2"}
    try:
        raise ValueError("hunter2")
    except ValueError:
        logger.exception("sent %s", CARDS[0], extra=extra)
    line = json.loads(out.getvalue())
    assert set(line) == {"time", "level", "logger", "message", "request", "card", "error", "at"}
    assert (line["level"], line["error"], line["request"]) == ("ERROR", "ValueError", "1")
    assert line["message"] == "sent [card …1111]"
    assert "hunter2" not in out.getvalue()
    assert CARDS[0] not in out.getvalue()
