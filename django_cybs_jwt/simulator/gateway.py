"""The gateway itself: one request in, one answer out. It neither sleeps nor opens a socket."""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from email.utils import formatdate
from typing import Final

from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey

from . import bodies, jose, operations, routes
from .authentication import Authenticator, Caller, bearer_token
from .calls import Call
from .control import PREFIX, Control
from .faults import Fault, FaultKind, Faults
from .identity import Identity
from .ledger import Ledger, Operation
from .messages import JSON_TYPE, SimAnswer, SimRequest, Wire, json_answer
from .refusals import Refusal, RefusalError, RefusalLog, RefusalRecord
from .registry import ChainedRegistry, MemoryRegistry, Registry

MAX_BODY: Final = 10 * 1024 * 1024


class Gateway:
    """Verifies, decrypts, processes and encrypts like the remote API. Thread-safe.

    *leeway_seconds* is how far clocks may be apart. *strict_host* refuses a token without
    `request-host`. Organizations posted to the control endpoint join those of *registry*.
    """

    def __init__(
        self,
        registry: Registry,
        *,
        identity: Identity | None = None,
        clock: Callable[[], float] = time.time,
        faults: Faults | None = None,
        ledger: Ledger | None = None,
        leeway_seconds: float = 5.0,
        strict_host: bool = True,
    ) -> None:
        self.identity = identity or Identity.generate()
        self.faults = faults or Faults()
        self.ledger = ledger or Ledger()
        self.refusals = RefusalLog()
        self._clock = clock
        guests = MemoryRegistry()
        self._authenticator = Authenticator(
            ChainedRegistry(registry, guests), leeway=leeway_seconds, strict_host=strict_host
        )
        self._control = Control(self.identity, self.ledger, self.faults, self.refusals, guests)

    def handle(self, request: SimRequest) -> SimAnswer:
        """Answer *request*."""
        if request.path.startswith(PREFIX):
            return self._control.handle(request)
        now, merchant, jti = self._clock(), "", ""
        try:
            _check_size(request)
            token = bearer_token(request)
            merchant, jti = _claimed(token, "v-c-merchant-id"), _claimed(token, "jti")
            now += self._skew(merchant)
            caller = self._authenticator.authenticate(token, request, now)
        except RefusalError as error:
            # In clear: the caller is not known, so nobody's response key is.
            answer = self._refuse(error, request, now, merchant, jti)
        else:
            answer = self._serve(caller, request, now)
        return _stamped(answer, now)

    def _serve(self, caller: Caller, request: SimRequest, now: float) -> SimAnswer:
        operation, key = Operation.UNKNOWN, caller.response_key
        try:
            call = self._read(caller, request, now)
            operation = call.operation
            if key is not None and self._take(FaultKind.PLAIN_REPLY, caller, operation):
                key = None
            answer = self._process(replace(call, response_encrypted=key is not None), request)
        except RefusalError as error:
            answer = self._refuse(error, request, now, caller.merchant, caller.jti)
        if key is not None and _is_business(answer):
            answer = self._encrypted(answer, key, caller, operation, now)
        return self._on_the_wire(answer, caller, operation)

    def _read(self, caller: Caller, request: SimRequest, now: float) -> Call:
        operation, collection, resource = routes.match(request.method, request.path)
        plain, encrypted = self._decrypted(request)
        if operation in routes.MLE_MANDATORY and not encrypted:
            raise RefusalError(Refusal.MLE_REQUIRED, f"{operation} is accepted encrypted only")
        try:
            body = jose.strict_object(plain or b"{}")
        except jose.JoseError as error:
            raise RefusalError(Refusal.BAD_BODY, f"the body is {error}") from None
        return Call(
            operation=routes.refine(operation, body),
            collection=collection,
            resource=resource,
            body=body,
            caller=caller,
            request_encrypted=encrypted,
            response_encrypted=False,
            now=datetime.fromtimestamp(now, UTC),
        )

    def _decrypted(self, request: SimRequest) -> tuple[bytes, bool]:
        """The plain body, and whether it came encrypted."""
        if not request.body:
            return b"", False
        if not request.headers.get("content-type", "").lower().startswith(JSON_TYPE):
            raise RefusalError(Refusal.WRONG_CONTENT_TYPE, f"a body here is {JSON_TYPE}")
        if b"encryptedRequest" not in request.body:
            return request.body, False
        try:
            envelope = jose.strict_object(request.body)
            if "encryptedRequest" not in envelope:
                return request.body, False
            if len(envelope) != 1 or not isinstance(envelope["encryptedRequest"], str):
                raise jose.JoseError('the body must be {"encryptedRequest": "<JWE>"} alone')
            token = envelope["encryptedRequest"]
            return jose.decrypt(token, self.identity.private_key, kid=self.identity.kid), True
        except jose.JoseError as error:
            raise RefusalError(Refusal.MLE_UNREADABLE, str(error)) from None

    def _process(self, call: Call, request: SimRequest) -> SimAnswer:
        if self._take(FaultKind.RESET_BEFORE, call.caller, call.operation):
            return SimAnswer(status=0, wire=Wire.RESET)
        if fault := self._take(FaultKind.REDIRECT, call.caller, call.operation):
            # To itself: who follows brings the same jti again and is refused.
            return SimAnswer(fault.status, {"location": request.target})
        if self._take(FaultKind.PAGE, call.caller, call.operation):
            return bodies.edge_page(200)
        fault = self._take(FaultKind.STATUS, call.caller, call.operation)
        if fault is None or fault.processed:
            call = replace(call, flag=fault.flag if fault else "")
            status, document = operations.perform(call, self.ledger)
        return _faulted(fault, call.now) if fault else json_answer(status, document)

    def _encrypted(
        self,
        answer: SimAnswer,
        key: RSAPublicKey,
        caller: Caller,
        operation: Operation,
        now: float,
    ) -> SimAnswer:
        kid = caller.response_kid
        if self._take(FaultKind.UNKNOWN_KID, caller, operation):
            kid = bodies.new_id()
        token = jose.encrypt(answer.body, key, kid=kid, iat=int(now))
        if self._take(FaultKind.BROKEN_JWE, caller, operation):
            token = token[:-22] + jose.encode_base64url(bytes(16))
        sealed = json_answer(answer.status, {"encryptedResponse": token}, refusal=answer.refusal)
        return replace(sealed, headers={**answer.headers, **sealed.headers})

    def _on_the_wire(self, answer: SimAnswer, caller: Caller, operation: Operation) -> SimAnswer:
        if fault := self._take(FaultKind.LATENCY, caller, operation):
            answer = replace(answer, delay=fault.seconds)
        if answer.wire is not Wire.COMPLETE:
            return answer
        if self._take(FaultKind.RESET_AFTER, caller, operation):
            answer = replace(answer, wire=Wire.RESET)
        elif self._take(FaultKind.TRUNCATE, caller, operation):
            answer = replace(answer, wire=Wire.TRUNCATED)
        elif self._take(FaultKind.GARBAGE, caller, operation):
            answer = replace(answer, wire=Wire.GARBAGE)
        return answer

    def _take(self, kind: FaultKind, caller: Caller, operation: Operation) -> Fault | None:
        return self.faults.take(kind, caller.merchant, operation)

    def _skew(self, merchant: str) -> float:
        fault = self.faults.take(FaultKind.CLOCK_SKEW, merchant, Operation.UNKNOWN)
        return fault.seconds if fault else 0.0

    def _refuse(
        self, error: RefusalError, request: SimRequest, now: float, merchant: str, jti: str
    ) -> SimAnswer:
        moment = datetime.fromtimestamp(now, UTC)
        self.refusals.add(
            RefusalRecord(
                time=moment.isoformat(),
                org=merchant,
                refusal=error.refusal,
                hint=error.hint,
                method=request.method[:16],
                path=request.path[:256],
                jti=jti,
            )
        )
        return bodies.refused(error, moment)


def _check_size(request: SimRequest) -> None:
    if len(request.body) > MAX_BODY:
        raise RefusalError(Refusal.TOO_LARGE, f"a body has at most {MAX_BODY} bytes")


def _claimed(token: jose.Jws, name: str) -> str:
    """A claim before it is verified: for the list of refusals and for choosing faults only."""
    value = token.claims.get(name)
    return value[:64] if isinstance(value, str) else ""


def _is_business(answer: SimAnswer) -> bool:
    """True for what is encrypted on demand: JSON, whatever its status, but not a 401."""
    return answer.headers.get("content-type") == JSON_TYPE and answer.status != 401


def _faulted(fault: Fault, now: datetime) -> SimAnswer:
    if fault.status == 401:
        answer = json_answer(401, bodies.authentication_failed())
    elif fault.status == 404:
        answer = json_answer(404, bodies.not_found())
    elif fault.status == 400:
        answer = json_answer(400, bodies.invalid_request(fault.reason, now))
    elif fault.status in (200, 201, 500, 502):
        answer = json_answer(fault.status, bodies.server_error(fault.reason, now))
    else:
        answer = bodies.edge_page(fault.status)
    if fault.retry_after is not None:
        answer = replace(answer, headers={**answer.headers, "retry-after": str(fault.retry_after)})
    return answer


def _stamped(answer: SimAnswer, now: float) -> SimAnswer:
    headers = {
        **answer.headers,
        "date": formatdate(now, usegmt=True),
        "v-c-correlation-id": str(uuid.uuid4()),
    }
    if answer.refusal:
        headers["x-simulator-refusal"] = answer.refusal
    return replace(answer, headers=headers)
