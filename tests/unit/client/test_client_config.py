"""The defaults are finite, and the configuration is plain data."""

from __future__ import annotations

import math
from dataclasses import FrozenInstanceError, fields

import httpx
import pytest

from django_cybs_jwt.client import AsyncClient, Client, Config, Route, Timeout
from django_cybs_jwt.protocol import DEFAULT, PROFILES
from tests.unit.client.merchants import HOST, Call, Sender, config
from tests.unit.client.merchants import merchant_keys as keys_of
from tests.unit.client.raw_server import RawServer


@pytest.mark.parametrize(
    ("name", "seconds"),
    [("connect", 3.0), ("write", 10.0), ("read", 65.0), ("pool", 1.0), ("total", 90.0)],
)
def test_every_timeout_is_finite_by_default(name: str, seconds: float) -> None:
    assert getattr(Timeout(), name) == seconds
    assert math.isfinite(seconds)
    assert len(fields(Timeout)) == 5


@pytest.mark.parametrize("kind", [Client, AsyncClient])
def test_a_client_takes_the_timeouts_and_trusts_no_environment(
    kind: type[Client] | type[AsyncClient],
) -> None:
    client = kind(keys_of)  # type: ignore[arg-type]
    assert client.timeout == httpx.Timeout(connect=3.0, write=10.0, read=65.0, pool=1.0)
    assert client.trust_env is False
    assert client.follow_redirects is False


def test_a_timeout_of_one_call_replaces_those_of_the_client(
    sender: Sender, server: RawServer
) -> None:
    (response,) = sender.send(keys_of(), config(server.url), [Call("GET", "/x", {"timeout": 7.5})])
    assert response.request.extensions["timeout"] == dict.fromkeys(
        ("connect", "read", "write", "pool"), 7.5
    )


def test_a_base_url_may_end_in_a_slash_and_have_a_path(sender: Sender, server: RawServer) -> None:
    """The prefix is the egress proxy's own and no part of what is signed."""
    for prefix in ("", "/", "/egress/cybs", "/egress/cybs/"):
        sender.send(keys_of(), config(server.url + prefix), [Call("GET", "/tss/v2/x?a=/b")])
    assert [received.target for received in server.received] == [
        "/tss/v2/x?a=/b",
        "/tss/v2/x?a=/b",
        "/egress/cybs/tss/v2/x?a=/b",
        "/egress/cybs/tss/v2/x?a=/b",
    ]
    assert {received.claims["request-resource-path"] for received in server.received} == {
        "/tss/v2/x?a=/b"
    }


def test_a_host_without_a_base_url_is_called_by_its_name() -> None:
    assert Config().origin(HOST) == f"https://{HOST}"


def test_a_host_has_its_own_profile(sender: Sender, server: RawServer) -> None:
    settings = config(server.url, profiles={HOST: PROFILES["node-sdk"]})
    sender.send(keys_of(), settings, [Call(options={"json": {}})])
    assert "digest-algorithm" in server.received[0].claims
    assert settings.profile("api.cybersource.com") is DEFAULT


def test_clock_and_jti_come_from_the_configuration(sender: Sender, server: RawServer) -> None:
    from datetime import UTC, datetime

    moment = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
    settings = config(server.url, clock=lambda: moment, new_jti=lambda: "the-jti")
    sender.send(keys_of(), settings, [Call("GET", "/x")])
    claims = server.received[0].claims
    assert claims["jti"] == "the-jti"
    assert (claims["iat"], claims["exp"]) == (
        moment.timestamp() - 5,
        moment.timestamp() + 115,
    )


@pytest.mark.parametrize(
    ("own", "project", "announced"),
    [
        (None, "ask", True),
        (None, "never", False),
        ("never", "ask", False),
        ("ask", "never", True),
        ("never", "required", False),
    ],
)
def test_the_organizations_response_mle_wins_over_the_projects(
    sender: Sender, server: RawServer, own: str | None, project: str, announced: bool
) -> None:
    sender.send(
        keys_of(response_mle=own),
        config(server.url, response_mle=project),
        [Call("GET", "/x")],
    )
    assert ("v-c-response-mle-kid" in server.received[0].claims) is announced


@pytest.mark.parametrize(
    "value", [Timeout(), Route(), Config()], ids=["Timeout", "Route", "Config"]
)
def test_configuration_is_frozen(value: object) -> None:
    with pytest.raises(FrozenInstanceError):
        setattr(value, fields(value)[0].name, None)  # type: ignore[arg-type]


def test_routes_that_are_equal_share_connections() -> None:
    assert hash(Route(proxy="http://p:1")) == hash(Route(proxy="http://p:1"))
    assert Route(ca_bundle="a") != Route(ca_bundle="b")
