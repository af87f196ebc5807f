"""An httpx.Auth for a client of the user's own: signs and encrypts; the reply stays as it came."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Generator

import httpx

from django_cybs_jwt.client.clients import AsyncProvider, Provider
from django_cybs_jwt.client.config import Config
from django_cybs_jwt.client.exchange import seal
from django_cybs_jwt.exceptions import OutcomeUnknown


class GatewayAuth(httpx.Auth):
    """Replaces each request by its sealed form.

    An Auth cannot replace a response, so decrypt with `cybs.decrypt(org_id, response.content)`.
    Build the client with `follow_redirects=False`; a followed redirect raises OutcomeUnknown.
    """

    requires_request_body = True

    def __init__(
        self, provider: Provider, aprovider: AsyncProvider, config: Config | None = None
    ) -> None:
        self._provider = provider
        self._aprovider = aprovider
        self._config = config or Config()

    def sync_auth_flow(
        self, request: httpx.Request
    ) -> Generator[httpx.Request, httpx.Response, None]:
        """Seal with the keys of now."""
        request.read()
        _, carried = seal(self._config, self._provider(), _without_cookies(request))
        _check_not_redirected((yield carried))

    async def async_auth_flow(
        self, request: httpx.Request
    ) -> AsyncGenerator[httpx.Request, httpx.Response]:
        """Seal with the keys of now."""
        await request.aread()
        _, carried = seal(self._config, await self._aprovider(), _without_cookies(request))
        _check_not_redirected((yield carried))


def _without_cookies(request: httpx.Request) -> httpx.Request:
    # The user's client keeps those that the gateway sets; a signed request carries none.
    request.headers.pop("cookie", None)
    return request


def _check_not_redirected(response: httpx.Response) -> None:
    if response.history:
        raise OutcomeUnknown(
            "The client followed a redirect with a signed request. "
            "Build it with follow_redirects=False."
        )
