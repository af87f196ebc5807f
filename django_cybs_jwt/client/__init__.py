"""httpx clients that seal requests and open replies; nothing here needs Django."""

from __future__ import annotations

from django_cybs_jwt.client.auth import GatewayAuth
from django_cybs_jwt.client.clients import AsyncClient, Client
from django_cybs_jwt.client.config import Config, KeyFacts, Route, Timeout
from django_cybs_jwt.client.exchange import MLE, Exchange
from django_cybs_jwt.client.explain import Explanation, Finding
from django_cybs_jwt.client.outcome import Phase, Phases
from django_cybs_jwt.client.parcel import Parcel
from django_cybs_jwt.client.reply import Reply
from django_cybs_jwt.client.transports import KEEP_ALIVE

__all__ = [
    "KEEP_ALIVE",
    "MLE",
    "AsyncClient",
    "Client",
    "Config",
    "Exchange",
    "Explanation",
    "Finding",
    "GatewayAuth",
    "KeyFacts",
    "Parcel",
    "Phase",
    "Phases",
    "Reply",
    "Route",
    "Timeout",
]
