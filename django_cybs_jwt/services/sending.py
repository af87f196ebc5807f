"""Send one message now, in this process; or only sign it, or only decrypt."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache, partial
from typing import Any

from asgiref.sync import sync_to_async
from django.utils import timezone

from django_cybs_jwt import conf
from django_cybs_jwt.client import (
    MLE,
    AsyncClient,
    Client,
    Config,
    Explanation,
    GatewayAuth,
    Parcel,
    Reply,
)
from django_cybs_jwt.client.exchange import WRITTEN_BY_SEAL, carry, open_message, seal_message
from django_cybs_jwt.exceptions import MLEDecryptError
from django_cybs_jwt.logs import mask
from django_cybs_jwt.protocol import MerchantKeys, ReplyKeys
from django_cybs_jwt.services import signing, usage
from django_cybs_jwt.tracebacks import aforgetful, forgetful


@dataclass(frozen=True, slots=True, kw_only=True)
class SignedRequest:
    """A request that any HTTP client may send, unchanged, within two minutes."""

    method: str
    url: str = field(repr=False)  # it may carry a card number
    headers: dict[str, str] = field(repr=False)
    body: bytes = field(repr=False)
    key_id: str
    request_encrypted: bool
    claims: dict[str, Any] = field(repr=False)
    request_mle_kid: str | None = None

    def redacted(self) -> dict[str, Any]:
        """What would be sent, without signature, body and card numbers: safe for a ticket."""
        path = {"request-resource-path": mask(str(self.claims["request-resource-path"]))}
        headers = {**self.headers, "authorization": "Bearer <redacted>"}
        return {
            "method": self.method,
            "url": mask(self.url),
            "headers": headers,
            "key_id": self.key_id,
            "claims": {**self.claims, **path},
            "request_encrypted": self.request_encrypted,
            "request_mle_kid": self.request_mle_kid,
            "body_bytes": len(self.body),
        }


def client(org_id: str) -> Client:
    """An httpx client for one merchant; its keys are looked up at each request."""
    return Client(partial(signing.keys_for, org_id), _config())


def aclient(org_id: str) -> AsyncClient:
    """The asynchronous twin of `client`."""
    return AsyncClient(partial(signing.akeys_for, org_id), _config())


def pack(
    org_id: str,
    method: str,
    path: str,
    body: bytes,
    *,
    mle: bool | None,
    headers: Mapping[str, str],
) -> Parcel:
    """A sealed message, to be written down first and then given to `Client.dispatch`."""
    config, keys = _config(), signing.keys_for(org_id)
    wanted = {name: value for name, value in headers.items() if name not in WRITTEN_BY_SEAL}
    sealed = seal_message(config, keys, method, path, body, mle=mle, headers=wanted)
    return Parcel(config=config, keys=keys, sealed=sealed, request=carry(config, sealed, {}))


def auth(org_id: str) -> GatewayAuth:
    """An httpx.Auth for a client of your own; decrypt its replies with `decrypt`."""
    return GatewayAuth(
        partial(signing.keys_for, org_id),
        partial(signing.akeys_for, org_id),
        _config(),
    )


@forgetful
def send(
    org_id: str,
    method: str,
    path: str,
    *,
    json: Any = None,
    content: bytes | None = None,
    mle: bool | None = None,
    timeout: float | None = None,
    headers: Mapping[str, str] | None = None,
) -> Reply:
    """Send one request and return its decrypted reply; nothing is retried or added.

    *timeout* in seconds replaces connect, read, write and pool for this call, and TIMEOUT's total
    where it is longer.
    Raises MessageError, KeyResolutionError, NotSent or OutcomeUnknown.
    """
    options = _options(json, content, mle, timeout, headers)
    with client(org_id) as http:
        response = http.request(method, path, **options)
    return Reply.of(response, received_at=timezone.now())


@aforgetful
async def asend(
    org_id: str,
    method: str,
    path: str,
    *,
    json: Any = None,
    content: bytes | None = None,
    mle: bool | None = None,
    timeout: float | None = None,
    headers: Mapping[str, str] | None = None,
) -> Reply:
    """The asynchronous twin of `send`."""
    options = _options(json, content, mle, timeout, headers)
    async with aclient(org_id) as http:
        response = await http.request(method, path, **options)
    return Reply.of(response, received_at=timezone.now())


@forgetful
def sign(
    org_id: str,
    method: str,
    path: str,
    body: bytes = b"",
    *,
    mle: bool | None = None,
    headers: Mapping[str, str] | None = None,
) -> SignedRequest:
    """Seal a request without sending it; *url* is where the settings point its host."""
    return _signed(signing.keys_for(org_id), method, path, body, mle=mle, headers=headers or {})


@aforgetful
async def asign(
    org_id: str,
    method: str,
    path: str,
    body: bytes = b"",
    *,
    mle: bool | None = None,
    headers: Mapping[str, str] | None = None,
) -> SignedRequest:
    """The asynchronous twin of `sign`."""
    keys = await signing.akeys_for(org_id)
    return _signed(keys, method, path, body, mle=mle, headers=headers or {})


@forgetful
def decrypt(org_id: str, body: bytes, *, status: int = 200) -> bytes:
    """The plain bytes of a reply body; one that came in clear is returned as it is.

    Whatever became of the key that signed since: no key must be able to sign now.
    Raises MLEDecryptError when it is encrypted and does not open.
    """
    return _opened(signing.reply_keys(org_id), body, status)


@aforgetful
async def adecrypt(org_id: str, body: bytes, *, status: int = 200) -> bytes:
    """The asynchronous twin of `decrypt`."""
    return _opened(await signing.areply_keys(org_id), body, status)


async def aexplain(reply: Reply) -> Explanation:
    """`reply.explain()` for an event loop, where it may not ask the database for the key."""
    return await sync_to_async(reply.explain)()


@forgetful
def preview(
    org_id: str, method: str, path: str, body: bytes = b"", *, mle: bool | None = None
) -> SignedRequest:
    """What `sign` would return, for looking at: it is no use of the key. Raises like `sign`."""
    config = replace(_config(), signed=lambda _reference, _moment: None)
    return _signed(signing.keys_for(org_id), method, path, body, mle=mle, headers={}, config=config)


def _signed(
    keys: MerchantKeys,
    method: str,
    path: str,
    body: bytes,
    *,
    mle: bool | None,
    headers: Mapping[str, str],
    config: Config | None = None,
) -> SignedRequest:
    config = config or _config()
    sealed = seal_message(config, keys, method, path, body, mle=mle, headers=headers)
    return SignedRequest(
        method=sealed.method,
        url=config.origin(sealed.host) + sealed.path,
        headers=dict(sealed.headers),
        body=sealed.body,
        key_id=sealed.kid,
        request_encrypted=sealed.request_encrypted,
        claims=sealed.claims,
        request_mle_kid=sealed.request_mle_kid,
    )


def _opened(owners: Sequence[ReplyKeys], body: bytes, status: int) -> bytes:
    """By the kid of the token, among every owner whose key may have signed the request."""
    failure = MLEDecryptError()
    for keys in owners:
        try:
            return open_message(_config(), keys, body, status=status).content
        except MLEDecryptError as error:
            # Two owners may have keys of one name; what a key of that name says tells most.
            failure = failure if failure.facts.get("known") else error
    raise failure


def _config() -> Config:
    return _counting(conf.client_config())


@lru_cache(maxsize=1)
def _counting(config: Config) -> Config:
    return replace(config, signed=usage.signed, opened=usage.opened, key_now=signing.key_now)


def _options(
    json: Any,
    content: bytes | None,
    mle: bool | None,
    timeout: float | None,
    headers: Mapping[str, str] | None,
) -> dict[str, Any]:
    options: dict[str, Any] = {"extensions": {MLE: mle}, "headers": headers}
    if json is not None:
        options["json"] = json
    if content is not None:
        options["content"] = content
    if timeout is not None:
        options["timeout"] = timeout
    return options
