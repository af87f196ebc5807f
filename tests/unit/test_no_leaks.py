"""A planted card number, password, shared secret and private key are found nowhere they leak to.

Every failure is looked at as a developer, a mail from Django, a log collector and a database
client would see it.
"""

from __future__ import annotations

import copy
import html
import json
import logging
import pickle
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import pytest
from django.apps import apps
from django.db import connection
from django.test import RequestFactory
from django.utils import timezone
from django.views.debug import ExceptionReporter

from django_cybs_jwt import conf, cybs
from django_cybs_jwt.client import pools
from django_cybs_jwt.models import Organization
from django_cybs_jwt.services import gateway_certificates, opened_keys, signing
from django_cybs_jwt.services.inspection import inspect_file as inspect
from django_cybs_jwt.simulator import Gateway
from django_cybs_jwt.simulator.faults import Fault, FaultKind
from django_cybs_jwt.simulator.server import running
from django_cybs_jwt.testing import material
from django_cybs_jwt.testing.simulation import Simulation
from tests.unit.management.running import run, type_in
from tests.unit.planted import (
    CRASHES,
    PAN,
    PASSWORD,
    PAYMENTS,
    SECRET,
    Patch,
    body,
    crash,
    leaks,
    needles,
    p12,
    payment,
    signing_key,
    store,
)
from tests.unit.services import enrolment

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("cybs_ring")]


@pytest.mark.parametrize("name", ["card number", "password", "shared secret", "pem", "ring"])
def test_the_search_finds_what_it_should(name: str) -> None:
    for part in needles()[name]:
        assert name in leaks(f"<td>{html.escape(repr({'x': part}))}</td>")
    assert leaks("an innocent page") == set()


# Crash pages, mails and exceptions


@pytest.fixture
def acme() -> Organization:
    owner = enrolment.organization()
    enrolment.shared_secret(owner, secret=SECRET)
    gateway_certificates.add(
        material.gateway_certificate().pem.encode(),
        host=enrolment.HOST,
        actor="tests",
        now=timezone.now(),
    )
    signing.forget()
    return owner


def failure(act: Callable[[], object]) -> BaseException:
    try:
        act()
    except BaseException as error:  # noqa: BLE001  # a panic of a library is none of Exception
        return error
    pytest.fail("nothing failed")


@pytest.mark.parametrize("debug", [True, False], ids=["debug", "production"])
@pytest.mark.parametrize("name", CRASHES)
def test_no_crash_page_or_mail_shows_a_secret(
    acme: Organization, settings: Any, monkeypatch: Patch, name: str, debug: bool
) -> None:
    with monkeypatch.context() as patch:
        error = failure(partial(CRASHES[name], patch))
    conf.forget_keyring()
    settings.DEBUG = debug
    reporter = ExceptionReporter(
        RequestFactory().post("/pay"), type(error), error, error.__traceback__
    )
    page, mail = reporter.get_traceback_html(), reporter.get_traceback_text()
    assert type(error).__name__ in page
    assert leaks(page) == set()
    assert leaks(mail) == set()


@pytest.mark.parametrize("name", CRASHES)
def test_no_exception_shows_a_secret(acme: Organization, monkeypatch: Patch, name: str) -> None:
    with monkeypatch.context() as patch:
        error = failure(partial(CRASHES[name], patch))
    shown = traceback.TracebackException.from_exception(error, capture_locals=True)
    assert leaks("".join(shown.format())) == set()
    for each in visible(error):
        assert leaks(f"{each} {each!r} {each.args!r} {vars(each)!r}") == set()


def visible(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or (None if error.__suppress_context__ else error.__context__)


def test_a_crash_page_still_tells_where_and_why(acme: Organization, monkeypatch: Patch) -> None:
    with monkeypatch.context() as patch:
        error = failure(partial(CRASHES["transport"], patch))
    text = "".join(traceback.format_exception(error))
    assert "RuntimeError: boom" in text
    for place in ("in send\n", "in handle_request\n", "sending.py", "clients.py"):
        assert place in text


def test_what_the_caller_was_handling_keeps_its_variables(acme: Organization) -> None:
    """Only what happened inside is forgotten."""

    def callers_own() -> None:
        kept = "the caller's"
        raise LookupError(kept[:0])

    try:
        callers_own()
    except LookupError as own:
        error, handled = failure(lambda: cybs.send("nobody", "GET", "/x")), own
    last = traceback.TracebackException.from_exception(handled, capture_locals=True).stack[-1]
    assert error.__context__ is handled
    assert last.locals is not None
    assert "kept" in last.locals


# Logs


@contextmanager
def everything_logged(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    connection.force_debug_cursor = True
    names = ["httpx", "httpcore", "django.db.backends", "django.request", "asyncio", "uvicorn"]
    before = {name: logging.getLogger(name).level for name in names}
    for name in names:
        logging.getLogger(name).setLevel(logging.DEBUG)
    try:
        with caplog.at_level(logging.DEBUG):
            yield
    finally:
        connection.force_debug_cursor = False
        for name, level in before.items():
            logging.getLogger(name).setLevel(level)


def told(caplog: pytest.LogCaptureFixture) -> str:
    lines = [
        f"{record.getMessage()} {record.args!r} {record.exc_text} {vars(record)!r}"
        for record in caplog.records
    ]
    return "\n".join([*lines, caplog.text])


def test_no_logger_at_debug_tells_a_secret(
    caplog: pytest.LogCaptureFixture,
    capfd: pytest.CaptureFixture[str],
    acme: Organization,
    monkeypatch: Patch,
) -> None:
    with everything_logged(caplog):
        for name, act in CRASHES.items():
            with monkeypatch.context() as patch:
                try:
                    act(patch)
                except Exception:
                    logging.getLogger("host.project").exception("It failed: %s", name)
            conf.forget_keyring()
    assert "cybs_jwt_credential" in caplog.text  # SQL was logged
    assert leaks(told(caplog)) == set()
    out, err = capfd.readouterr()
    assert leaks(out + err) == set()


@pytest.mark.django_db(transaction=True)
def test_no_logger_tells_a_secret_of_payments_over_a_socket(
    caplog: pytest.LogCaptureFixture, settings: Any
) -> None:
    simulation = Simulation()
    simulation.merchant("acme")
    with running(Gateway(KnownBefore(simulation), identity=simulation.gateway.identity)) as at:
        settings.CYBS_JWT = {**settings.CYBS_JWT, "BASE_URLS": {enrolment.HOST: at.base_url}}
        signing.forget()
        with everything_logged(caplog):
            assert cybs.send(*PAYMENTS, json=payment()).status_code == 201
            assert cybs.send(*PAYMENTS, json=payment(), mle=False).status_code == 201
            with cybs.client("acme") as client:
                assert client.post(PAYMENTS[2], json=payment()).status_code == 201
    while pools._sync:
        pools._sync.popitem()[1].close()
    assert "send_request_headers" in caplog.text  # httpcore spoke
    assert "HTTP Request: POST" in caplog.text  # httpx spoke
    assert leaks(told(caplog)) == set()


class KnownBefore:
    """What the database says, read now: the server's threads have no database."""

    def __init__(self, simulation: Simulation) -> None:
        registry = simulation.gateway._authenticator._registry
        keys = signing.keys_for("acme")
        self._signing = registry.signing_key("acme", keys.signing.kid, enrolment.HOST)
        self._response = registry.response_key("acme", keys.response_kid or "", enrolment.HOST)

    def signing_key(self, issuer: str, kid: str, host: str) -> Any:
        return self._signing

    def response_key(self, owner: str, kid: str, host: str) -> Any:
        return self._response

    def covers(self, issuer: str, kid: str, merchant: str, host: str) -> bool:
        return issuer == merchant

    def hosts(self, merchant: str) -> frozenset[str]:
        return frozenset({enrolment.HOST})


# Replies that go wrong


@pytest.mark.parametrize(
    "kind", ["reset_after", "truncate", "broken_jwe", "unknown_kid", "plain_reply"]
)
def test_a_reply_that_cannot_be_read_shows_no_secret(
    cybs_simulator: Simulation,
    caplog: pytest.LogCaptureFixture,
    settings: Any,
    kind: str,
) -> None:
    cybs_simulator.merchant("acme")
    settings.CYBS_JWT = {**settings.CYBS_JWT, "RESPONSE_MLE": "required"}
    settings.DEBUG = True
    cybs_simulator.faults.add(Fault(kind=FaultKind(kind)))
    with everything_logged(caplog):
        error = failure(lambda: cybs.send(*PAYMENTS, json=payment()))
    page = ExceptionReporter(None, type(error), error, error.__traceback__).get_traceback_html()
    assert leaks(page) == set()
    assert leaks(told(caplog)) == set()
    assert leaks("".join(traceback.format_exception(error))) == set()


def test_the_request_kept_by_httpx_is_the_sealed_one(cybs_simulator: Simulation) -> None:
    cybs_simulator.merchant("acme")
    with cybs.client("acme") as client:
        response = client.post(PAYMENTS[2], json=payment())
    assert response.status_code == 201
    assert PAN.encode() not in response.request.content
    assert leaks(f"{response!r} {response.request!r} {vars(response.request)!r}") == set()


# Objects


def holders(acme: Organization, simulation: Simulation) -> dict[str, Any]:
    file = p12("rival")
    keys = signing.keys_for("acme")
    reply = cybs.send(*PAYMENTS, json=payment())
    return {
        "MerchantKeys": keys,
        "SigningKey": keys.signing,
        "ResponseKey": next(iter(keys.response_keys.values())),
        "Inspection": inspect(file.data, PASSWORD.encode(), **signing_key()),
        "KeyRing": conf.keyring(),
        "Settings": conf.current(),
        "Config": conf.client_config(),
        "P12File": file,
        "SignedRequest": cybs.sign(*PAYMENTS, body(), mle=False),
        "Reply": reply,
        "Exchange": reply.exchange,
        "SealedRequest": reply.exchange.sealed,
        "Explanation": reply.explain(),
        "Client": cybs.client("acme"),
        "Auth": cybs.auth("acme"),
        "Credential": acme.credentials.first(),
        "Gateway": simulation.gateway,
        "Ledger": simulation.ledger,
        "opened": list(opened_keys._entries.values()),
        "assembled": signing._cache.assembled,
    }


NEVER_COPIED = ("MerchantKeys", "SigningKey", "ResponseKey", "Inspection", "KeyRing")


@pytest.fixture
def objects(cybs_simulator: Simulation) -> dict[str, Any]:
    acme = enrolment.organization()
    gateway = cybs_simulator.certificate.certificate
    enrolment.shared_secret(acme, secret=SECRET)
    enrolment.rsa_key(acme, key=material.rsa_key(name="planted pem"), gateway=gateway)
    signing.forget()
    return holders(acme, cybs_simulator)


def test_no_object_shows_a_secret_in_any_spelling(objects: dict[str, Any]) -> None:
    for name, each in objects.items():
        shown = [repr(each), str(each), f"{each}", "%s %r" % (each, each), repr({"x": [each]})]  # noqa: UP031
        assert leaks(" ".join(shown)) == set(), name


@pytest.mark.parametrize("name", NEVER_COPIED)
@pytest.mark.parametrize(
    "copied",
    [pickle.dumps, copy.copy, copy.deepcopy, json.dumps],
    ids=lambda f: f"{f.__module__} {f.__name__}",
)
def test_what_holds_key_material_is_not_pickled_copied_or_written_as_json(
    objects: dict[str, Any], name: str, copied: Callable[[Any], Any]
) -> None:
    with pytest.raises(TypeError) as caught:
        copied(objects[name])
    assert leaks(str(caught.value)) == set()


# Commands, and what stays behind


def test_a_command_that_fails_shows_no_secret(acme: Organization, monkeypatch: Patch) -> None:
    type_in(monkeypatch, PASSWORD)
    for arguments in (
        ("cybs_import", "acme", "-"),
        ("cybs_import", "acme", "--shared-secret", "--key-id", "k"),
        ("cybs_send", *PAYMENTS, "--data", "-"),
    ):
        data = p12("acme").data[:-4] if arguments[-1] == "-" else f"{SECRET}x\n".encode()
        type_in(monkeypatch, body() + b"\xff" if arguments[0] == "cybs_send" else data)
        ended = run(*arguments)
        assert ended.code != 0
        assert leaks(ended.out + ended.err) == set()


def test_a_command_that_crashes_shows_no_secret(
    acme: Organization, monkeypatch: Patch, settings: Any
) -> None:
    settings.DEBUG = True
    enrolment.organization("crashing")
    acme.credentials.update(fingerprint="")  # the planted secret may be imported once more
    with monkeypatch.context() as patch:
        patch.setenv("SECRET", SECRET)
        patch.setattr("django.db.models.Model.save", crash)
        arguments = ("--shared-secret", "--key-id", "k", "--secret-env", "SECRET", "--slot", "b")
        error = failure(lambda: run("cybs_import", "crashing", *arguments))
    assert isinstance(error, RuntimeError)
    page = ExceptionReporter(None, type(error), error, error.__traceback__).get_traceback_html()
    assert leaks(page) == set()


def test_no_row_of_the_database_holds_a_secret_in_clear(acme: Organization) -> None:
    store(inspect(p12("acme").data, PASSWORD.encode(), **signing_key()))
    failure(lambda: enrolment.shared_secret(acme, secret=SECRET, slot="third"))
    rows = [
        f"{value!r}" if not isinstance(value, memoryview) else repr(bytes(value))
        for model in apps.get_models()
        for row in model._default_manager.values_list()
        for value in row
    ]
    assert any("CJE1" in text for text in rows)
    assert leaks("\n".join(rows)) == set()


def test_a_dry_run_shows_no_signature_and_no_body(acme: Organization) -> None:
    text = repr(cybs.sign(*PAYMENTS, body(), mle=False).redacted())
    assert leaks(text) == set()
    assert "eyJ" not in text
