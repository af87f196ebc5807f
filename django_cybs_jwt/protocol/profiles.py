"""Wire dialects: where the gateway's pages and its own SDKs disagree, as named data.

`DEFAULT` follows the gateway's guide, revision 26.06.01.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from django_cybs_jwt.exceptions import ConfigurationError

LONGEST_LIFETIME: Final = 120

_NAME: Final = re.compile(r"[A-Za-z][A-Za-z0-9-]{0,63}")
_WRITTEN_ANYWAY: Final = frozenset(
    {
        *("digest", "iat", "exp", "iss", "jti", "nbf", "sub", "aud"),
        *("request-method", "request-host", "request-resource-path"),
        *("v-c-jwt-version", "v-c-merchant-id"),
    }
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Profile:
    """How a claim set and an encrypted body are written for a host.

    Instances are always legal: what no gateway would take raises ConfigurationError.
    """

    digest_algorithm_claim: str = "digestAlgorithm"
    """The official Node SDK writes `digest-algorithm`."""

    digest_algorithm: str = "SHA-256"

    request_host: bool = True
    """Required since revision 26.06.01; older brands' pages do not list it."""

    query_in_path: bool = True
    """SDKs since 2026-05-16 claim the path with its query string."""

    response_kid_claim: str = "v-c-response-mle-kid"

    backdate: int = 5
    """Seconds that `iat` lies in the past, for clocks that run fast."""

    lifetime: int = 120
    """Seconds from `iat` to `exp`; the gateway takes at most 120."""

    content_type_header: str | None = None
    """The JWE header's `cty`; the Node SDK sends `JWT`, the Python SDK none."""

    def __post_init__(self) -> None:
        self._check_claims()
        self._check_times()
        for name in ("request_host", "query_in_path"):
            if not isinstance(getattr(self, name), bool):
                raise ConfigurationError("A profile's {name} is True or False.", name=name)
        cty = self.content_type_header
        if cty is not None and not _is_name(cty):
            raise ConfigurationError("A profile's content_type_header is a word like JWT, or None.")

    def _check_claims(self) -> None:
        for name in ("digest_algorithm_claim", "response_kid_claim"):
            claim = getattr(self, name)
            if not _is_name(claim) or claim in _WRITTEN_ANYWAY:
                raise ConfigurationError(
                    "A profile's {name} is the name of a claim that nothing else is written to.",
                    name=name,
                )
        if self.digest_algorithm_claim == self.response_kid_claim:
            raise ConfigurationError("A profile's two claims have two names.")
        if self.digest_algorithm not in ("SHA-256", "sha-256"):
            raise ConfigurationError("A profile's digest_algorithm is SHA-256: no other is made.")

    def _check_times(self) -> None:
        if not _is_whole(self.lifetime) or not 0 < self.lifetime <= LONGEST_LIFETIME:
            raise ConfigurationError(
                "A profile's lifetime is 1 to {longest} seconds; no gateway takes more.",
                longest=LONGEST_LIFETIME,
            )
        if not _is_whole(self.backdate) or not 0 <= self.backdate < self.lifetime:
            raise ConfigurationError("A profile's backdate is 0 to less than its lifetime.")


def _is_name(value: object) -> bool:
    return isinstance(value, str) and _NAME.fullmatch(value) is not None


def _is_whole(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


DEFAULT: Final = Profile()
NODE_SDK: Final = Profile(
    digest_algorithm_claim="digest-algorithm", content_type_header="JWT", backdate=0
)
WITHOUT_REQUEST_HOST: Final = Profile(request_host=False)

PROFILES: Final[dict[str, Profile]] = {
    "default": DEFAULT,
    "node-sdk": NODE_SDK,
    "without-request-host": WITHOUT_REQUEST_HOST,
}
