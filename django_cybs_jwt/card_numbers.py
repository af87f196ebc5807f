"""What looks like a card number: what must stand nowhere in clear."""

from __future__ import annotations

import re
from typing import Final

_BRANDS: Final = re.compile(
    r"4\d{12}(?:\d{3}){0,2}"  # Visa
    r"|5[1-5]\d{14}|2(?:22[1-9]|2[3-9]\d|[3-6]\d\d|7[01]\d|720)\d{12}"  # Mastercard
    r"|3[47]\d{13}"  # American Express
    r"|3(?:0[0-5]|[689]\d)\d{11}"  # Diners Club
    r"|35(?:2[89]|[3-8]\d)\d{12,15}"  # JCB
    r"|6(?:011|4[4-9]\d|5\d\d)\d{12,15}|62\d{14,17}"  # Discover, UnionPay
    r"|(?:5[06-8]|6\d)\d{11,17}"  # Maestro
)
_BETWEEN: Final = re.compile(r"[ -]")


def has_check_digit(digits: str) -> bool:
    """True where the last digit is right for the others, by Luhn; noughts alone do not count."""
    numbers = [int(digit) for digit in digits]
    doubled = [sum(divmod(number * 2, 10)) for number in numbers[-2::-2]]
    return len(set(numbers)) > 1 and (sum(numbers[::-2]) + sum(doubled)) % 10 == 0


def is_card_number(text: str) -> bool:
    """True for a whole *text* with a brand's beginning and length, and a right check digit.

    Narrower than what a log masks: here somebody's order number would be refused.
    """
    digits = _BETWEEN.sub("", text)
    return bool(_BRANDS.fullmatch(digits)) and has_check_digit(digits)
