"""The public face as a type checker sees it; checked, never run."""

from __future__ import annotations

from typing import assert_type

import httpx

from django_cybs_jwt import cybs
from django_cybs_jwt.client import AsyncClient, Client, Explanation
from django_cybs_jwt.models import OutboundRequest
from django_cybs_jwt.protocol import MerchantKeys


def synchronous() -> None:
    reply = cybs.send("acme", "POST", "/pts/v2/payments", json={"code": "1"})
    assert_type(reply, cybs.Reply)
    assert_type(reply.status_code, int)
    assert_type(reply.explain(), Explanation)
    assert_type(cybs.client("acme"), Client)
    assert_type(cybs.client("acme").get("/tss/v2/transactions/1"), httpx.Response)
    assert_type(cybs.sign("acme", "GET", "/tss/v2/transactions/1"), cybs.SignedRequest)
    assert_type(cybs.decrypt("acme", b"{}"), bytes)
    assert_type(cybs.keys_for("acme"), MerchantKeys)
    row = cybs.enqueue("acme", "POST", "/pts/v2/payments", json={}, idempotency_key="order-1")
    assert_type(row, OutboundRequest)
    assert_type(row.state, str)
    assert_type(cybs.submit("acme", "GET", "/x", idempotency_key="a"), OutboundRequest)
    assert_type(cybs.reply_to(row), cybs.StoredReply | None)


async def asynchronous() -> None:
    reply = await cybs.asend("acme", "GET", "/tss/v2/transactions/1")
    assert_type(await cybs.aexplain(reply), Explanation)
    assert_type(await cybs.asend("acme", "GET", "/tss/v2/transactions/1"), cybs.Reply)
    assert_type(await cybs.asign("acme", "GET", "/x"), cybs.SignedRequest)
    assert_type(await cybs.adecrypt("acme", b"{}"), bytes)
    assert_type(await cybs.akeys_for("acme"), MerchantKeys)
    assert_type(cybs.aclient("acme"), AsyncClient)
    assert_type(await cybs.asubmit("acme", "GET", "/x", idempotency_key="a"), OutboundRequest)
    async with httpx.AsyncClient(auth=cybs.auth("acme")) as own:
        assert_type(await own.get("https://apitest.cybersource.com/"), httpx.Response)
