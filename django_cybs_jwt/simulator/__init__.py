"""A gateway on your own machine that verifies and refuses like the remote one.

Hold a `Gateway` over a registry of organizations, then reach it in-process with
`transport.SimulatorTransport`, over a socket with `server.running` or `server.serve`, or mount
`app(gateway)` anywhere. It is pure: no Django, and none of the code that it checks.
"""

from __future__ import annotations

from .asgi import app
from .claims import GATEWAY_HOSTS
from .faults import Fault, FaultKind, Faults
from .gateway import Gateway
from .identity import Identity
from .ledger import Entry, Ledger, Operation
from .messages import SimAnswer, SimRequest, Wire
from .operations import DECLINED_AMOUNT
from .refusals import Refusal
from .registry import ChainedRegistry, MemoryRegistry, RegisteredKey, Registry

__all__ = [
    "DECLINED_AMOUNT",
    "GATEWAY_HOSTS",
    "ChainedRegistry",
    "Entry",
    "Fault",
    "FaultKind",
    "Faults",
    "Gateway",
    "Identity",
    "Ledger",
    "MemoryRegistry",
    "Operation",
    "Refusal",
    "RegisteredKey",
    "Registry",
    "SimAnswer",
    "SimRequest",
    "Wire",
    "app",
]
