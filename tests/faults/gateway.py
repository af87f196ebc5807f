"""A gateway that fails by lot, and keeps a list of what it did to whom. A process of the runs.

python -m tests.faults.gateway '{"reset_after": 0.01, ...}'

It takes a free port and prints its address.
"""

from __future__ import annotations

import asyncio
import json
import random
import sys
import threading
import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from typing import Any

from django_cybs_jwt.simulator import Fault, FaultKind, Faults, Gateway, MemoryRegistry
from django_cybs_jwt.simulator.authentication import bearer_token
from django_cybs_jwt.simulator.calls import Call
from django_cybs_jwt.simulator.control import PREFIX
from django_cybs_jwt.simulator.ledger import Ledger, Operation
from django_cybs_jwt.simulator.messages import SimAnswer, SimRequest, Wire, json_answer
from django_cybs_jwt.simulator.refusals import RefusalError
from django_cybs_jwt.simulator.server import serve

LATE = 4.0  # seconds between a connection that is reset and the processing of what it carried
INJECTED = f"{PREFIX}injected"
HANDLED = f"{PREFIX}handled"
ANSWERED = f"{PREFIX}answered"


class Listed(Faults):
    """Writes down each fault that strikes."""

    def __init__(self, seed: int) -> None:
        super().__init__(seed=seed)
        self.current = threading.local()

    def take(self, kind: FaultKind, org_id: str, operation: Operation) -> Fault | None:
        fault = super().take(kind, org_id, operation)
        if fault is not None:
            self.current.__dict__.setdefault("struck", []).append(fault)
        return fault


class Broken(Gateway):
    """The simulator, and one fault more: what it got before a reset is processed later."""

    def __init__(self, *, seed: int, late: float, index_lag: float) -> None:
        self.listed = Listed(seed)
        super().__init__(
            MemoryRegistry(),
            faults=self.listed,
            ledger=Ledger(index_lag=index_lag),
            leeway_seconds=2.0,
        )
        self.refusals._records = deque()  # all of them are counted at the end
        self._late = late
        self._lots = random.Random(seed)
        self.injected: list[dict[str, Any]] = []
        self.answered: list[tuple[str, float]] = []
        self._counting = threading.Lock()
        self.handled = 0

    def handle(self, request: SimRequest) -> SimAnswer:
        if request.path == INJECTED:
            return json_answer(200, self.injected)
        if request.path == HANDLED:
            return json_answer(200, self.handled)
        if request.path == ANSWERED:
            return json_answer(200, self.answered)
        struck = self.listed.current.__dict__
        struck["struck"], struck["jti"] = [], ""
        answer = super().handle(request)
        for fault in struck["struck"]:
            self._list(fault.as_json())
        if not request.path.startswith(PREFIX):
            with self._counting:
                self.handled += 1
        return answer

    async def run(
        self, handle: Callable[[SimRequest], SimAnswer], request: SimRequest
    ) -> SimAnswer:
        """Answer in a thread, delay included, and write down when the answer goes out."""
        answer = await asyncio.to_thread(handle, request)
        await asyncio.sleep(answer.delay)
        with suppress(RefusalError):  # what bears no token is no attempt of ours
            self.answered.append((bearer_token(request).claims["jti"], time.time()))
        return replace(answer, delay=0.0)

    def _process(self, call: Call, request: SimRequest) -> SimAnswer:
        self.listed.current.jti = call.caller.jti
        money = call.operation in (Operation.AUTHORIZATION, Operation.SALE)
        if money and self._lots.random() < self._late:
            self._list({"kind": "late"})
            timer = threading.Timer(LATE, super()._process, (call, request))
            timer.daemon = True
            timer.start()
            return SimAnswer(status=0, wire=Wire.RESET)
        return super()._process(call, request)

    def _list(self, fault: dict[str, Any]) -> None:
        self.injected.append({**fault, "jti": self.listed.current.jti})


def main(plan: dict[str, Any]) -> None:
    late, lag = plan.pop("late", 0.0), plan.pop("index_lag", 0.0)
    gateway = Broken(seed=plan.pop("seed", 0), late=late, index_lag=lag)
    for document in plan.pop("faults", []):
        gateway.faults.add(Fault.from_json(document))
    ready = lambda address: print(address.base_url, flush=True)  # noqa: E731
    serve(gateway, port=0, run=gateway.run, ready=ready)


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
