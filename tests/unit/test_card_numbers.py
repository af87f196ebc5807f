"""Card numbers of every brand are known by beginning, length and check digit."""

from __future__ import annotations

import pytest

from django_cybs_jwt.card_numbers import has_check_digit, is_card_number

# Published by the brands and processors for tests.
CARDS = {
    "Visa": "4111111111111111",
    "Visa of 13 digits": "4222222222222",
    "Visa of 19 digits": "4000000000000000006",
    "Mastercard": "5555555555554444",
    "Mastercard of the 2 series": "2223000048400011",
    "American Express": "378282246310005",
    "Diners Club": "30569309025904",
    "JCB": "3530111333300000",
    "Discover": "6011111111111117",
    "UnionPay": "6205500000000000004",
    "Maestro": "6759649826438453",
}


@pytest.mark.parametrize("brand", CARDS)
def test_a_card_of_every_brand_is_known_however_it_is_written(brand: str) -> None:
    number = CARDS[brand]
    spaced = " ".join(number[start : start + 4] for start in range(0, len(number), 4))
    for text in (number, spaced, spaced.replace(" ", "-")):
        assert is_card_number(text), text
    wrong = number[:-1] + str((int(number[-1]) + 1) % 10)
    assert not is_card_number(wrong)


@pytest.mark.parametrize("year", range(2020, 2040))
def test_a_time_in_milliseconds_is_no_card_number(year: int) -> None:
    begin = (year - 1970) * 31_557_600_000
    assert not any(is_card_number(str(begin + moment)) for moment in range(0, 1000, 7))


def test_other_numbers_are_no_card_numbers() -> None:
    assert has_check_digit("79927398713")
    for text in ("", "79927398713", "order-4111111111111111", "9111111111111111", "4" * 40):
        assert not is_card_number(text)
