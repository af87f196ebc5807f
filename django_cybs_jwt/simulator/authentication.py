"""From an Authorization header to a caller, or to the reason why not."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime

from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey

from . import claims as claim_set
from . import jose
from .messages import SimRequest
from .refusals import Refusal, RefusalError
from .registry import RegisteredKey, Registry
from .replays import Replays


@dataclass(frozen=True, slots=True)
class Caller:
    """Who is calling, for which merchant, and how the reply is to be encrypted."""

    merchant: str
    issuer: str
    kid: str
    jti: str
    response_kid: str
    response_key: RSAPublicKey | None = field(repr=False)


class Authenticator:
    """Verifies tokens against a registry; *leeway* is in seconds."""

    def __init__(self, registry: Registry, *, leeway: float, strict_host: bool) -> None:
        self._registry = registry
        self._leeway = leeway
        self._strict_host = strict_host
        self._replays = Replays()

    def authenticate(self, token: jose.Jws, request: SimRequest, now: float) -> Caller:
        """Return the caller, or raise RefusalError; *now* is in epoch seconds."""
        claims = token.claims
        key = self._verified_key(token, now)
        claim_set.check_version(claims)
        exp = claim_set.check_times(claims, now=now, leeway=self._leeway)
        claim_set.check_target(claims, request)
        claim_set.check_digest(claims, request.body)
        merchant = self._merchant(token, request, key)
        response_kid, response_key = self._response_key(claims, key)
        jti = claim_set.check_jti(claims)
        # Last, so that only a token that would be accepted is used up.
        if not self._replays.first_use(key.owner, jti, until=exp + self._leeway, now=now):
            raise RefusalError(Refusal.REPLAYED, "this jti was used before")
        return Caller(merchant, key.owner, key.kid, jti, response_kid, response_key)

    def _verified_key(self, token: jose.Jws, now: float) -> RegisteredKey:
        issuer, host = claim_set.text(token.claims, "iss"), claim_set.host(token.claims)
        key = self._registry.signing_key(issuer, token.kid, host)
        if key is None and self._registry.signing_key(issuer, token.kid, "") is not None:
            raise RefusalError(Refusal.WRONG_HOST, "iss registered this key on another host")
        if key is None:
            raise RefusalError(Refusal.UNKNOWN_KEY, "iss has registered no key under this kid")
        if not jose.fits(token.algorithm, key.material):
            raise RefusalError(
                Refusal.WRONG_ALGORITHM, f"alg does not fit a key of type {key.algorithm_family}"
            )
        if not jose.verify(token, key.material):
            raise RefusalError(Refusal.BAD_SIGNATURE, "another key or other bytes were signed")
        if key.not_after is not None and datetime.fromtimestamp(now, UTC) > key.not_after:
            raise RefusalError(Refusal.KEY_EXPIRED, "the signing key has expired")
        return key

    def _merchant(self, token: jose.Jws, request: SimRequest, key: RegisteredKey) -> str:
        merchant = claim_set.text(token.claims, "v-c-merchant-id")
        hosts = self._registry.hosts(merchant)
        if not hosts:
            raise RefusalError(Refusal.UNKNOWN_MERCHANT, "no such v-c-merchant-id")
        claim_set.check_host(token.claims, request, hosts, strict=self._strict_host)
        host = claim_set.host(token.claims)
        if not self._registry.covers(key.owner, key.kid, merchant, host):
            raise RefusalError(
                Refusal.NOT_COVERED, "the signing key does not cover v-c-merchant-id"
            )
        return merchant

    def _response_key(
        self, claims: claim_set.Claims, key: RegisteredKey
    ) -> tuple[str, RSAPublicKey | None]:
        if "v-c-response-mle-kid" not in claims:
            return "", None
        kid = claim_set.text(claims, "v-c-response-mle-kid")
        response_key = self._registry.response_key(key.owner, kid, claim_set.host(claims))
        if response_key is None:
            raise RefusalError(
                Refusal.UNKNOWN_RESPONSE_KEY, "the key's owner has no such response-MLE key"
            )
        return kid, response_key


def bearer_token(request: SimRequest) -> jose.Jws:
    """Read the token of *request* without believing it, or raise RefusalError."""
    scheme, _, token = request.headers.get("authorization", "").partition(" ")
    if scheme.lower() != "bearer" or not token:
        raise RefusalError(Refusal.NO_TOKEN, "no Authorization: Bearer header")
    try:
        return jose.parse_jws(token)
    except jose.JoseError as error:
        raise RefusalError(Refusal.BAD_TOKEN, f"the token is {error}") from None
