"""Wire dialects: where the gateway's pages and its own SDKs disagree, as named data.

`DEFAULT` follows the gateway's guide, revision 26.06.01.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True, kw_only=True)
class Profile:
    """How a claim set and an encrypted body are written for a host."""

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
