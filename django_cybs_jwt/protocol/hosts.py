"""The gateway's hosts, by brand, and what a free hostname must look like.

Source: the gateway's endpoint references and guides, one row a brand, read 2026-11.
`api.in.cybersource.com` has no test host of its own.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from django_cybs_jwt.exceptions import InvalidHost


@dataclass(frozen=True, slots=True, kw_only=True)
class Host:
    """One known gateway host; *live* ones move money."""

    name: str
    brand: str
    live: bool


_BRANDS: Final = (
    ("Cybersource", "apitest.cybersource.com", "api.cybersource.com"),
    ("Cybersource India", None, "api.in.cybersource.com"),
    ("Cybersource Saudi Arabia", "apitest.sa.cybersource.com", "api.sa.cybersource.com"),
    ("Cybersource mutual TLS", "api-matest.cybersource.com", "api-ma.cybersource.com"),
    ("Visa Acceptance", "apitest.visaacceptance.com", "api.visaacceptance.com"),
    (
        "Bank of America",
        "apitest.merchant-services.bankofamerica.com",
        "api.merchant-services.bankofamerica.com",
    ),
    (
        "Barclaycard Smartpay Fuse",
        "api.smartpayfuse-test.barclaycard",
        "api.smartpayfuse.barclaycard",
    ),
)

PRESETS: Final[dict[str, Host]] = {
    name: Host(name=name, brand=brand, live=live)
    for brand, test, production in _BRANDS
    for name, live in ((test, False), (production, True))
    if name is not None
}

_LABEL: Final = r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?"
# No top-level name begins with a digit; the last part of every IPv4 spelling, hex too, does.
_HOSTNAME: Final = re.compile(rf"(?:{_LABEL}\.)+(?=[a-z]){_LABEL}\Z")


def parse_host(name: str) -> str:
    """Return *name* in lower case, or raise InvalidHost.

    A bare DNS name with at least one dot: no scheme, port, path, user, trailing dot, IP address.
    """
    lowered = name.lower()
    # The Kelvin sign's lower case is an ASCII k, so the name itself must be ASCII too.
    if not name.isascii() or len(lowered) > 253 or not _HOSTNAME.match(lowered):
        raise InvalidHost(
            "{name!r} is not a hostname. Give the bare name, like apitest.cybersource.com.",
            name=name[:80],
        )
    return lowered


def is_live(name: str) -> bool | None:
    """Whether a known host moves money; None for a host without a preset."""
    preset = PRESETS.get(name.lower())
    return preset.live if preset else None
