"""The simulator's own endpoints under `/__simulator/`: look at it, break it, add to it.

They ask for no credentials: serve the simulator on loopback.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from .faults import Fault, Faults
from .identity import Identity
from .jose import JoseError, strict_object
from .ledger import Ledger
from .messages import SimAnswer, SimRequest, json_answer
from .refusals import RefusalLog
from .registry import MemoryRegistry

PREFIX: Final = "/__simulator/"
_ORGANIZATION: Final = {
    "org_id": "org_id",
    "kid": "kid",
    "host": "host",
    "certificate": "certificate",
    "shared_secret": "secret",
    "response_kid": "response_kid",
    "response_certificate": "response_certificate",
    "covers": "covers",
}


class Control:
    """Answers the control endpoints."""

    def __init__(
        self,
        identity: Identity,
        ledger: Ledger,
        faults: Faults,
        refusals: RefusalLog,
        guests: MemoryRegistry,
    ) -> None:
        self._faults = faults
        self._guests = guests
        self._endpoints: dict[tuple[str, str], Callable[[SimRequest], SimAnswer]] = {
            ("GET", "ledger"): lambda _: json_answer(200, ledger.as_json()),
            ("GET", "refusals"): lambda _: json_answer(200, refusals.as_json()),
            ("GET", "certificate"): lambda _: _pem(identity),
            ("GET", "faults"): lambda _: json_answer(200, [f.as_json() for f in faults.active()]),
            ("POST", "faults"): self._add_fault,
            ("DELETE", "faults"): self._clear_faults,
            ("POST", "organizations"): self._add_organization,
        }

    def handle(self, request: SimRequest) -> SimAnswer:
        """Answer a control request; what it refuses, it explains."""
        name = request.path.removeprefix(PREFIX).rstrip("/")
        endpoint = self._endpoints.get((request.method.upper(), name))
        if endpoint is None:
            known = [f"{method} {PREFIX}{path}" for method, path in self._endpoints]
            return json_answer(404, {"error": "No such control endpoint.", "endpoints": known})
        try:
            return endpoint(request)
        except ValueError as error:
            return json_answer(400, {"error": str(error)})

    def _add_fault(self, request: SimRequest) -> SimAnswer:
        fault = Fault.from_json(_document(request))
        self._faults.add(fault)
        return json_answer(201, fault.as_json())

    def _clear_faults(self, _: SimRequest) -> SimAnswer:
        self._faults.clear()
        return SimAnswer(204)

    def _add_organization(self, request: SimRequest) -> SimAnswer:
        document = _document(request)
        if not set(document) <= set(_ORGANIZATION) or "org_id" not in document:
            others = ", ".join(name for name in _ORGANIZATION if name != "org_id")
            raise ValueError(f"An organization has org_id and may have {others}.")
        covers = document.get("covers", [])
        values = [v for k, v in document.items() if k != "covers"]
        if not isinstance(covers, list) or not all(isinstance(v, str) for v in values + covers):
            raise ValueError("Every member is a string; covers is a list of strings.")
        kid, response_kid = self._guests.add(
            **{_ORGANIZATION[name]: value for name, value in document.items()}
        )
        answer = {"org_id": document["org_id"], "kid": kid, "response_kid": response_kid}
        return json_answer(201, answer)


def _pem(identity: Identity) -> SimAnswer:
    return SimAnswer(200, {"content-type": "application/x-pem-file"}, identity.pem.encode())


def _document(request: SimRequest) -> dict[str, Any]:
    try:
        return strict_object(request.body)
    except JoseError as error:
        raise ValueError(f"Send a JSON object; this is {error}.") from None
