"""Why nothing was sent: the causes that have a cure of their own, read from the error's chain."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Iterator
from urllib.parse import urlsplit

from django_cybs_jwt.exceptions import NotSent


def not_sent(error: Exception, peer: str, base_url: str) -> NotSent:
    """What to tell; *peer* is host:port that was called, *base_url* what BASE_URLS has, if any."""
    kind = type(error).__name__
    for cause in _chain(error) if peer else ():
        if isinstance(cause, ssl.SSLCertVerificationError):
            return NotSent(
                "Nothing was sent ({error}): the TLS certificate of {peer} is not trusted ({why}). "
                "Trying again does not help. Set CYBS_JWT['CA_BUNDLE'] to the PEM file of who "
                "issued it, if that is who should be there.",
                error=kind,
                peer=peer,
                why=cause.verify_message,
            )
        if isinstance(cause, socket.gaierror):
            return NotSent(
                "Nothing was sent ({error}): the name of {peer} does not resolve. Correct the "
                "host or this machine's DNS; sending again is safe.",
                error=kind,
                peer=peer,
            )
        if isinstance(cause, ConnectionRefusedError):
            return _refused(kind, peer, base_url)
    return NotSent("Nothing was sent ({error}); sending again is safe.", error=kind)


def is_of_certificate(error: BaseException) -> bool:
    """True where the peer's certificate was refused."""
    return any(isinstance(cause, ssl.SSLCertVerificationError) for cause in _chain(error))


def _refused(kind: str, peer: str, base_url: str) -> NotSent:
    if urlsplit(base_url).hostname == peer.rpartition(":")[0]:
        return NotSent(
            "Nothing was sent ({error}): {peer} refuses connections. CYBS_JWT['BASE_URLS'] sends "
            "it there: start what should listen, or take the entry out; sending again is safe.",
            error=kind,
            peer=peer,
        )
    return NotSent(
        "Nothing was sent ({error}): {peer} refuses connections. Look at its port, at a firewall "
        "and at PROXY; sending again is safe.",
        error=kind,
        peer=peer,
    )


def _chain(error: BaseException) -> Iterator[BaseException]:
    """The error and what caused it; of a host with several addresses each has failed."""
    below: BaseException | None = error
    while below is not None:
        yield below
        if isinstance(below, BaseExceptionGroup):
            for each in below.exceptions:
                yield from _chain(each)
        below = below.__cause__ or below.__context__
