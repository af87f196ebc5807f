"""Every address of the admin as everybody: who gets what, and no secret for anyone.

Addresses come from the URLs themselves; who may open which is written down here once more.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from django.apps import apps
from django.contrib.auth.models import User
from django.core.files.uploadedfile import SimpleUploadedFile
from django.db import models, transaction
from django.test import Client, RequestFactory
from django.urls import reverse
from django.utils import timezone

from django_cybs_jwt import cybs
from django_cybs_jwt.models import Credential
from django_cybs_jwt.services import alerts, approvals, scope, signing
from django_cybs_jwt.services.alerts import recipients
from django_cybs_jwt.services.inspection import inspect_file
from django_cybs_jwt.testing import material
from django_cybs_jwt.testing.simulation import Simulation
from tests.unit import planted
from tests.unit.admin import people
from tests.unit.admin.addresses import Address, addresses, rows
from tests.unit.services import enrolment

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("cybs_ring", "fresh_chain")]

GROUPS = ("viewers", "operators", "approvers", "custodians", "auditors")
NOBODY: tuple[str, ...] = ()
OPERATORS = ("operators",)
MAY_OPEN = {
    "alertrecipient": dict.fromkeys(
        ("add_recipient", "change_recipient", "test", "deactivate"), OPERATORS
    ),
    "approval": dict.fromkeys(("approve", "reject"), ("approvers",)),  # reject: who asked, too
    "credential": {
        **dict.fromkeys(("import", "replace", "discard"), OPERATORS),
        **dict.fromkeys(("verifying", "verify"), OPERATORS),
        **dict.fromkeys(("activate", "unschedule", "rollback"), OPERATORS),
        **dict.fromkeys(("suspend", "resume", "retire", "compromise"), OPERATORS),
        **dict.fromkeys(("destroy", "request_export"), ("custodians",)),
    },
    "expiryalert": {"dashboard": GROUPS, **dict.fromkeys(("acknowledge", "snooze"), OPERATORS)},
    "gatewaycertificate": {},
    "keyevent": dict.fromkeys(("verify", "export"), ("auditors",)),
    "keyslot": {"coverage": OPERATORS},
    "organization": {"readiness": GROUPS, **dict.fromkeys(("verify", "dry_run"), OPERATORS)},
    "outboundrequest": dict.fromkeys(("retry", "cancel", "reconcile", "settle"), OPERATORS),
    "staffscope": dict.fromkeys(
        ("changelist", "change", "history", "password", "limit", "change_limit", "lift", "delete"),
        NOBODY,
    ),
}
OF_EVERY_MODEL = {
    **dict.fromkeys(("changelist", "change", "history", "password"), GROUPS),
    **dict.fromkeys(("add", "delete"), None),  # of our rows none is made or taken away here
}
ROLES = (*GROUPS, "superuser", "staff", "nobody")


LEADS_ON = ("history", "staffscope_delete")  # to the audit trail, to the screen that does it


def may_open(role: str, address: Address) -> bool:
    model = address.model._meta.model_name or ""
    groups = {**OF_EVERY_MODEL, **MAY_OPEN[model]}[address.page]
    if role == "superuser":
        return groups is not None
    return groups is not None and role in groups


@pytest.fixture
def estate(cybs_simulator: Simulation) -> None:
    """Rows of every model, with secrets in them that `planted.leaks` would know again."""
    now = timezone.now()
    acme = cybs_simulator.merchant("acme", signs_with=None)
    file = planted.p12("acme")
    wanted = planted.signing_key()["wanted"]
    enrolment.store(acme, inspect_file(file.data, planted.PASSWORD.encode(), wanted, now=now))
    spare = material.rsa_key(name="planted pem")
    enrolment.rsa_key(acme, purpose="signing", key=spare, slot="spare", activate=False)
    enrolment.rsa_key(acme, gateway=cybs_simulator.certificate.certificate)
    portfolio = enrolment.organization("mall", kind="portfolio")
    enrolment.shared_secret(
        portfolio,
        secret=planted.SECRET,
        covers="all",
        expires_at=now + timezone.timedelta(days=5),
        now=now - timezone.timedelta(days=300),
    )
    signing.forget()
    alerts.raise_due(now)
    recipients.add("webhook", "https://example.com/hook", actor="mara")
    staged = Credential.objects.get(slot__name="spare")
    approvals.request("destroy", staged, actor="mara", now=now)
    cybs.enqueue("acme", "POST", "/pts/v2/payments", json=planted.payment(), idempotency_key="k1")
    scope.limit(people.staff("linda", "viewers"), [acme], actor="mara")


def visitor(role: str) -> Client:
    """Somebody of that role who has just typed his password."""
    if role == "nobody":
        return Client()
    made = people.client(user(role))
    people.password_typed(made, timezone.now().timestamp())
    return made


def user(role: str) -> User:
    if role == "superuser":
        return people.superuser()
    return people.staff(role, *([role] if role in GROUPS else []))


def places() -> Iterator[tuple[Address, str]]:
    """Each address with a row that its page is for."""
    request: Any = RequestFactory().get("/")
    request.user = User(username="walker", is_superuser=True, is_staff=True, is_active=True)
    for address in addresses():
        row = next(rows(address, request)) if address.of_row else None
        arguments = [row.pk] if row else []
        yield address, reverse(f"admin:cybs_jwt_{address.name}", args=arguments)


def test_every_address_is_written_down() -> None:
    found: dict[str, set[str]] = {model: set() for model in MAY_OPEN}
    for address in addresses():
        found[address.model._meta.model_name or ""].add(address.page)
    assert found == {model: {*OF_EVERY_MODEL, *pages} for model, pages in MAY_OPEN.items()}


def expected(role: str, address: Address) -> set[int]:
    if role == "nobody":
        return {302}
    if not may_open(role, address):
        return {403}
    return {302} if {address.name, address.page} & {*LEADS_ON} else {200}


@pytest.mark.parametrize("role", ROLES)
def test_everybody_gets_the_pages_that_are_his(estate: None, role: str) -> None:
    client, wrong = visitor(role), {}
    for address, place in list(places()):
        answer = client.get(place)
        if answer.status_code not in expected(role, address):
            wrong[place] = answer.status_code
        assert planted.leaks(text(answer)) == set(), place
        if role == "nobody":
            assert answer["Location"].startswith("/admin/login/")
    assert wrong == {}


@pytest.mark.parametrize("role", ROLES)
def test_nobody_posts_what_is_not_his_and_an_empty_form_breaks_nothing(
    estate: None, role: str
) -> None:
    client, wrong = visitor(role), {}
    for address, place in list(places()):
        if address.page == "password":
            continue  # five empty ones end the session
        with undone():
            answer = client.post(place)
        allowed = expected(role, address)
        if allowed <= {200, 302}:
            allowed = {200, 302, 403, 405}  # Django's pages of rows that nobody changes: 403
        if answer.status_code not in allowed:
            wrong[place] = answer.status_code
        assert planted.leaks(text(answer)) == set(), place
    assert wrong == {}


@contextmanager
def undone() -> Iterator[None]:
    """What is posted inside leaves the rows for the next page."""
    with transaction.atomic():
        yield
        transaction.set_rollback(True)


def upload(data: bytes) -> SimpleUploadedFile:
    return SimpleUploadedFile("key.p12", data)


def text(answer: Any) -> str:
    content = b"".join(answer.streaming_content) if answer.streaming else answer.content
    return str(content.decode())


def test_screens_answer_no_other_method(estate: None) -> None:
    client = visitor("superuser")
    for address, place in list(places()):
        if address.screen is not None:
            for method in (client.put, client.delete, client.patch):
                assert method(place).status_code == 405, place


AT_ONCE = {"suspend", "compromise", "deactivate"}
"""In an emergency there is no time for a password; a recipient is brought back."""


def test_what_looks_dangerous_asks_for_the_password_unless_an_emergency_needs_it(
    estate: None,
) -> None:
    """Asked of the pages themselves, by somebody who may do everything and typed no password."""
    client, asks = people.client(user("superuser")), dict[str, bool]()
    for address, place in list(places()):
        if getattr(address.screen, "dangerous", False):
            asks[address.page] = people.asks_password(client.get(place))
    assert {name for name, is_asked in asks.items() if not is_asked} == AT_ONCE
    assert {name for name, is_asked in asks.items() if is_asked} == {
        *("retire", "discard", "destroy"),
        *("cancel", "lift"),
    }


# Query strings

LOOKUPS = ("", "__startswith", "__gt", "__regex", "__in", "__isnull")


def sealed_paths(model: type[models.Model], depth: int = 3) -> Iterator[str]:
    """Every way from *model* to a column that holds something sealed, or its fingerprint."""
    for field in model._meta.get_fields():
        target = getattr(field, "related_model", None)
        if isinstance(field, models.BinaryField) or field.name in ("fingerprint", "digest"):
            yield field.name
        elif depth > 1 and target in apps.get_app_config("cybs_jwt").get_models():
            yield from (f"{field.name}__{path}" for path in sealed_paths(target, depth - 1))


MODELS = sorted({address.model for address in addresses()}, key=lambda model: model.__name__)


@pytest.mark.parametrize("model", MODELS, ids=lambda model: model._meta.model_name)
def test_no_query_string_guesses_at_what_is_sealed(
    model: type[models.Model], caplog: pytest.LogCaptureFixture
) -> None:
    """An answer to any of them would be an oracle: more rows, or fewer."""
    client = visitor("superuser")
    page = people.url(model._meta.model_name or "", "changelist")
    paths = set(sealed_paths(model))
    assert paths or model is apps.get_model("cybs_jwt", "alertrecipient")
    answered = {
        f"{path}{lookup}"
        for path, lookup in itertools.product(sorted(paths), LOOKUPS)
        if client.get(page, {f"{path}{lookup}": "C"}).status_code != 400
    }
    assert answered == set()


# What is typed in


def test_nothing_that_is_uploaded_or_typed_comes_back(estate: None) -> None:
    """Refused for each reason there is: the page shows the reason, never the key."""
    client, page = visitor("operators"), people.url("credential", "import")
    file = planted.p12("acme")
    forms: list[dict[str, Any]] = [
        {"file": upload(file.data), "password": planted.PASSWORD + "x"},
        {"file": upload(file.data[:-9]), "password": planted.PASSWORD},
        {"file": upload(file.data), "password": planted.PASSWORD},
        {"file": upload(planted.pem()), "password": ""},
        {"file": upload(file.data), "secret": planted.SECRET, "password": planted.PASSWORD},
        {"secret": planted.SECRET},
        {"secret": planted.SECRET, "key_id": "a b"},
        {"secret": planted.SECRET[:-4], "key_id": "k"},
        {"secret": planted.pem().decode(), "key_id": "k"},
        {"key_id": planted.SECRET, "secret": planted.SECRET},
        {"key_id": planted.SECRET, "expires_at": "soon"},
        {"key_id": planted.SECRET[:-9], "secret": planted.SECRET},
        {"slot": planted.SECRET, "secret": planted.SECRET, "key_id": "k"},
        {"organization": planted.SECRET, "secret": planted.SECRET, "key_id": "k"},
        {"expires_at": planted.SECRET, "secret": planted.SECRET, "key_id": "k"},
        {"key_id": planted.pem().decode(), "slot": "".join(planted.pem().decode().split())},
        {"key_id": planted.PASSWORD, "file": upload(file.data), "password": planted.PASSWORD},
        {"slot": planted.PASSWORD, "file": upload(file.data), "password": planted.PASSWORD},
    ]
    for form in forms:
        chosen = {"organization": "mall", "purpose": "signing", **form}
        answer = client.post(page, chosen, follow=True)
        assert answer.status_code == 200
        assert planted.leaks(text(answer)) == set(), form.keys()
