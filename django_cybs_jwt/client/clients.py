"""Client and AsyncClient: httpx clients whose requests leave sealed and whose replies arrive open.

What goes in and out of `send` is plain; what httpx keeps in `response.request` and in its own
exceptions is the sealed form; a call that fails leaves no payload in a crash report's frames.
They never retry, follow no redirect, keep no cookie and read no environment variable.
"""

from __future__ import annotations

import http.cookiejar
from collections.abc import AsyncIterable, Awaitable, Callable, Mapping
from typing import Any, Final

import httpx

from django_cybs_jwt.client.config import Config
from django_cybs_jwt.client.deadline import held
from django_cybs_jwt.client.exchange import PLACEHOLDER, WRITTEN_BY_SEAL
from django_cybs_jwt.client.parcel import Parcel
from django_cybs_jwt.client.pools import AsyncSharedTransport, SharedTransport
from django_cybs_jwt.exceptions import InvalidBody, InvalidHeader, MessageError
from django_cybs_jwt.protocol import MerchantKeys
from django_cybs_jwt.protocol.bodies import encode_json
from django_cybs_jwt.protocol.headers import check_headers
from django_cybs_jwt.protocol.message import check_method
from django_cybs_jwt.protocol.paths import check_path
from django_cybs_jwt.texts import Text
from django_cybs_jwt.tracebacks import (
    aforgetful,
    aforgetful_entry,
    forgetful,
    forgetful_entry,
)

_STREAM: Final = Text(
    "The parts of a body must be bytes, and an asynchronous body is for an AsyncClient."
)

Provider = Callable[[], MerchantKeys]
AsyncProvider = Callable[[], Awaitable[MerchantKeys]]


class Client(httpx.Client):
    """A synchronous client for one merchant; *provider* is asked for its keys at each request.

    Raises MessageError before anything is sent, NotSent or OutcomeUnknown when no answer came.
    """

    def __init__(
        self,
        provider: Provider,
        config: Config | None = None,
        *,
        transport: httpx.BaseTransport | None = None,
    ) -> None:
        self._provider = provider
        self._config = config or Config()
        super().__init__(
            transport=transport or SharedTransport(self._config.route), **_options(self._config)
        )

    @forgetful
    def build_request(self, method: str, url: httpx.URL | str, **options: Any) -> httpx.Request:
        """Check all of it as the caller wrote it, before httpx tidies it up."""
        return _built(super().build_request, method, url, options)

    @forgetful
    def send(self, request: httpx.Request, **_options: Any) -> httpx.Response:
        """Seal, send once, read, open."""
        parcel = self.seal(request)
        with parcel.trace.classified():
            return self.dispatch(parcel)

    @forgetful
    def seal(self, request: httpx.Request) -> Parcel:
        """The message ready to leave and to be written down first; see `dispatch`."""
        keys = self._provider()
        try:
            request.read()
        except (TypeError, AssertionError):  # an asynchronous body
            raise InvalidBody(_STREAM) from None
        return Parcel.pack(self._config, keys, request)

    @forgetful
    def dispatch(self, parcel: Parcel) -> httpx.Response:
        """Send a sealed message once, read, open."""
        trace, reading = parcel.trace, parcel.depart(self._config, parcel.trace.record)
        try:
            with held(reading.deadline):
                wire = super().send(parcel.request, stream=True, auth=None, follow_redirects=False)
                trace.answered(wire.status_code)
                try:
                    for part in wire.iter_bytes():
                        reading.take(part)
                finally:
                    wire.close()
        except httpx.RequestError as error:
            raise trace.classify(error, base_url=parcel.base_url) from error
        trace.ended()
        return parcel.open(wire, reading)

    # httpx's own frames hold what it was given.
    request = forgetful(httpx.Client.request)
    get = forgetful(httpx.Client.get)
    post = forgetful(httpx.Client.post)
    put = forgetful(httpx.Client.put)
    patch = forgetful(httpx.Client.patch)
    delete = forgetful(httpx.Client.delete)
    stream = forgetful_entry(httpx.Client.stream)  # type: ignore[assignment]  # contextlib's class


class AsyncClient(httpx.AsyncClient):
    """The asynchronous twin of Client; *provider* is awaited."""

    def __init__(
        self,
        provider: AsyncProvider,
        config: Config | None = None,
        *,
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        self._provider = provider
        self._config = config or Config()
        super().__init__(
            transport=transport or AsyncSharedTransport(self._config.route),
            **_options(self._config),
        )

    @forgetful
    def build_request(self, method: str, url: httpx.URL | str, **options: Any) -> httpx.Request:
        """See Client.build_request."""
        return _built(super().build_request, method, url, options)

    @aforgetful
    async def send(self, request: httpx.Request, **_options: Any) -> httpx.Response:
        """See Client.send."""
        parcel = await self.seal(request)
        with parcel.trace.classified():
            return await self.dispatch(parcel)

    @aforgetful
    async def seal(self, request: httpx.Request) -> Parcel:
        """See Client.seal."""
        keys = await self._provider()
        try:
            await request.aread()
        except (TypeError, AssertionError):
            raise InvalidBody(_STREAM) from None
        return Parcel.pack(self._config, keys, request)

    @aforgetful
    async def dispatch(self, parcel: Parcel) -> httpx.Response:
        """See Client.dispatch."""
        trace, reading = parcel.trace, parcel.depart(self._config, parcel.trace.arecord)
        try:
            with held(reading.deadline):
                wire = await super().send(
                    parcel.request, stream=True, auth=None, follow_redirects=False
                )
                trace.answered(wire.status_code)
                try:
                    async for part in wire.aiter_bytes():
                        reading.take(part)
                finally:
                    await wire.aclose()
        except httpx.RequestError as error:
            raise trace.classify(error, base_url=parcel.base_url) from error
        trace.ended()
        return parcel.open(wire, reading)

    request = aforgetful(httpx.AsyncClient.request)
    get = aforgetful(httpx.AsyncClient.get)
    post = aforgetful(httpx.AsyncClient.post)
    put = aforgetful(httpx.AsyncClient.put)
    patch = aforgetful(httpx.AsyncClient.patch)
    delete = aforgetful(httpx.AsyncClient.delete)
    stream = aforgetful_entry(httpx.AsyncClient.stream)  # type: ignore[assignment]  # as above


def _options(config: Config) -> dict[str, Any]:
    return {
        "base_url": f"https://{PLACEHOLDER}",
        "timeout": httpx.Timeout(**config.timeout.steps),
        "trust_env": False,
        "follow_redirects": False,
        "cookies": http.cookiejar.CookieJar(http.cookiejar.DefaultCookiePolicy(allowed_domains=[])),
    }


def _check_target(url: httpx.URL | str) -> None:
    if isinstance(url, httpx.URL) and url.is_absolute_url:
        check_path(url.raw_path.decode("ascii"))
    else:
        # The whole of it: httpx would drop the host of URL("//host/path") without a word.
        check_path(str(url))


def _built(
    build: Callable[..., httpx.Request], method: str, url: httpx.URL | str, options: dict[str, Any]
) -> httpx.Request:
    """What httpx makes of a request; its own errors name no cure, and some quote the body."""
    check_method(method)
    _check_target(url)
    options = _encoded(_headed(options))
    try:
        return build(method, url, **options)
    except (TypeError, ValueError, AttributeError, httpx.InvalidURL) as error:
        raise MessageError(
            "The HTTP library makes no request of this ({type}). Check the arguments beside the "
            "path.",
            type=type(error).__name__,
        ) from None


def _headed(options: dict[str, Any]) -> dict[str, Any]:
    """The same with headers that are checked, and kept where they can be read only once."""
    headers = options.get("headers")
    if headers is None:
        return options
    try:
        given = headers.items() if isinstance(headers, Mapping) else headers
        pairs = [(_text(name), _text(value)) for name, value in given]
    except (TypeError, ValueError):
        raise InvalidHeader("Headers are a mapping, or pairs of a name and a value.") from None
    check_headers(pair for pair in pairs if str(pair[0]).lower() not in WRITTEN_BY_SEAL)
    return {**options, "headers": headers if isinstance(headers, Mapping) else pairs}


def _text(part: Any) -> Any:
    return part.decode("latin-1") if isinstance(part, bytes) else part


def _encoded(options: dict[str, Any]) -> dict[str, Any]:
    """Replace json= and content= by the bytes that will be hashed."""
    data = options.pop("json", None)
    content = options.get("content")
    if data is not None:
        if content is not None:
            raise InvalidBody("Give json= or content=, not both: only one of them can be sent.")
        options["content"] = encode_json(data)
    elif content is not None:
        options["content"] = _joined(content)
    return options


def _joined(content: Any) -> Any:
    if isinstance(content, bytes | AsyncIterable):
        return content
    if isinstance(content, bytearray | memoryview):
        return bytes(content)
    if isinstance(content, Mapping):  # an empty one would join to an empty body
        raise _no_bytes(content)
    try:
        return content.encode() if isinstance(content, str) else b"".join(content)
    except (TypeError, UnicodeEncodeError):
        raise _no_bytes(content) from None


def _no_bytes(content: object) -> InvalidBody:
    return InvalidBody(
        "A body of type {type} is not bytes. Use json= for data.", type=type(content).__name__
    )
