"""The admin shows what is stored, changes nothing, and no page or query opens a secret."""

from __future__ import annotations

import base64
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from typing import Any

import pytest
from django.apps import apps
from django.contrib import admin
from django.contrib.auth.models import Permission, User
from django.db import models
from django.test import Client
from django.urls import reverse

from django_cybs_jwt.models import AuditHead, Credential, Epoch
from django_cybs_jwt.services.inspection import Inspection
from django_cybs_jwt.testing import material
from tests.unit.services import enrolment

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("cybs_ring", "fresh_chain")]

MODELS = [
    model
    for model in apps.get_app_config("cybs_jwt").get_models()
    if admin.site.is_registered(model)
]
names = pytest.mark.parametrize("model", MODELS, ids=lambda model: model._meta.model_name)


READ_ONLY = ("organization", "keyslot", "credential", "gatewaycertificate", "keyevent")


@dataclass
class Stored:
    secrets: tuple[bytes, ...]
    texts: tuple[str, ...]


@cache
def read_file() -> tuple[material.P12File, Inspection]:
    file = material.p12("acme", private_key=material.rsa_key(name="admin"))
    return file, enrolment.p12_inspection(file)


@pytest.fixture
def stored() -> Stored:
    """A row of every kind of key, and what must never be seen of them."""
    portfolio, _, acme = enrolment.family()
    file, inspected = read_file()
    shared = material.shared_secret()
    enrolment.store(acme, inspected)
    enrolment.rsa_key(acme)
    enrolment.shared_secret(portfolio, secret=shared.secret, covers="selected")
    sealed = [
        bytes(blob)
        for row in Credential.objects.values_list("sealed_secret", "sealed_p12")
        for blob in row
        if blob
    ]
    pkcs8 = enrolment.pkcs8(file.private_key)
    pem_lines = base64.encodebytes(pkcs8).decode().splitlines()
    return Stored(
        secrets=(pkcs8, file.data, base64.b64decode(shared.secret), *sealed),
        texts=(file.password, shared.secret, *pem_lines[:-1]),
    )


@pytest.fixture(params=["superuser", "viewer"])
def visitor(request: pytest.FixtureRequest) -> Client:
    client = Client()
    client.force_login(user(request.param))
    return client


def user(kind: str) -> User:
    if kind == "superuser":
        return User.objects.create(username="root", is_staff=True, is_superuser=True)
    made = User.objects.create(username=kind, is_staff=True)
    if kind == "viewer":
        made.user_permissions.set(
            Permission.objects.filter(
                content_type__app_label="cybs_jwt", codename__startswith="view_"
            )
        )
    return made


def url(model: type[models.Model], page: str, *arguments: Any) -> str:
    return reverse(f"admin:cybs_jwt_{model._meta.model_name}_{page}", args=arguments)


def pages(model: type[models.Model]) -> Iterator[str]:
    yield url(model, "changelist")
    for row in model._default_manager.all():
        yield url(model, "change", row.pk)
        yield url(model, "history", row.pk)


def assert_clean(content: bytes, stored: Stored) -> None:
    text = content.decode()
    for secret in stored.secrets:
        for length in (24, len(secret)):
            part = secret[:length]
            assert part not in content
            assert part.hex() not in text.lower()
            assert base64.b64encode(part).decode().rstrip("=") not in text
            assert base64.urlsafe_b64encode(part).decode().rstrip("=") not in text
    for known in stored.texts:
        assert known not in text


def test_every_model_an_operator_asks_for_is_registered() -> None:
    registered = {model._meta.model_name for model in MODELS}
    assert set(READ_ONLY) <= registered
    assert not {AuditHead._meta.model_name, Epoch._meta.model_name} & registered


@names
def test_every_page_renders_and_shows_no_secret(
    stored: Stored, visitor: Client, model: type[models.Model]
) -> None:
    for page in pages(model):
        answer = visitor.get(page, follow=True)  # a history is a filter of the audit
        assert answer.status_code == 200, page
        assert_clean(answer.content, stored)


@names
def test_searching_ordering_and_filtering_show_no_secret(
    stored: Stored, visitor: Client, model: type[models.Model]
) -> None:
    for query in ("q=acme", "o=1", "o=-2.1", "q='--", "p=0", "all="):
        answer = visitor.get(f"{url(model, 'changelist')}?{query}")
        assert answer.status_code in (200, 302)
        assert_clean(answer.content, stored)


def test_the_facts_of_a_key_are_on_its_page(stored: Stored, visitor: Client) -> None:
    row = Credential.objects.get(kind="p12")
    content = visitor.get(url(Credential, "change", row.pk)).content.decode()
    for fact in (row.key_id, row.common_name, "RS256", "Active"):
        assert fact in content


@pytest.mark.parametrize("kind", ["superuser", "viewer"])
def test_no_row_is_added_changed_or_deleted_here(stored: Stored, kind: str) -> None:
    client = Client()
    client.force_login(user(kind))
    for name in READ_ONLY:
        model = apps.get_model("cybs_jwt", name)
        row = model._default_manager.first()
        before = list(model._default_manager.order_by("pk").values())
        add, change, delete = (
            url(model, "add"),
            url(model, "change", row.pk),
            url(model, "delete", row.pk),
        )
        assert client.get(add).status_code == 403
        assert client.post(add, {"org_id": "x"}).status_code == 403
        assert client.post(change, {"org_id": "x"}).status_code == 403
        assert client.get(delete).status_code == 403
        assert client.post(delete, {"post": "yes"}).status_code == 403
        chosen = {"action": "delete_selected", "_selected_action": [str(row.pk)], "post": "yes"}
        client.post(url(model, "changelist"), chosen)
        assert list(model._default_manager.order_by("pk").values()) == before


LOOKUPS = (
    "",
    *("__exact", "__iexact", "__contains", "__icontains", "__startswith", "__istartswith"),
    *("__endswith", "__iendswith", "__regex", "__iregex", "__gt", "__gte", "__lt", "__lte"),
    *("__in", "__range", "__isnull", "__isnull__exact", "__exact__startswith"),
)
PATHS = {
    "organization": ("credentials__sealed_secret", "slots__credentials__sealed_p12"),
    "keyslot": ("credentials__sealed_secret", "active__sealed_secret"),
    "credential": (
        *("sealed_secret", "sealed_p12", "fingerprint", "live_key_id"),
        *("slot__credentials__sealed_secret", "organization__credentials__sealed_secret"),
    ),
    "gatewaycertificate": ("organization__credentials__sealed_secret",),
    "keyevent": ("digest",),
}


@pytest.mark.parametrize("name", PATHS)
def test_no_query_string_can_guess_at_a_sealed_column(stored: Stored, name: str) -> None:
    """Each lookup that were answered would be an oracle: more rows, or fewer."""
    client = Client()
    client.force_login(user("superuser"))
    page = url(apps.get_model("cybs_jwt", name), "changelist")
    queries = [f"{path}{end}" for path in PATHS[name] for end in LOOKUPS]
    answered = {query for query in queries if client.get(page, {query: "C"}).status_code != 400}
    assert answered == set()


@pytest.mark.parametrize(
    "query",
    [
        "_to_field=sealed_secret",
        "_to_field=fingerprint",
        "_popup=1&_to_field=sealed_secret",
        "e=1&sealed_secret__gt=0",
        "_changelist_filters=sealed_secret__startswith%3DC",
    ],
)
def test_no_other_parameter_shows_one(stored: Stored, visitor: Client, query: str) -> None:
    answer = visitor.get(f"{url(Credential, 'changelist')}?{query}")
    assert answer.status_code in (200, 302, 400)
    assert_clean(answer.content, stored)


@names
def test_staff_without_permission_and_strangers_see_nothing(
    stored: Stored, model: type[models.Model]
) -> None:
    nobody, staff = Client(), Client()
    staff.force_login(user("staff"))
    for page in pages(model):
        assert staff.get(page).status_code == 403
        assert nobody.get(page).status_code == 302


@names
def test_an_unknown_row_is_not_found(visitor: Client, model: type[models.Model]) -> None:
    for pk in (uuid.uuid4(), "x", "1' OR '1'='1"):
        answer = visitor.get(url(model, "change", pk), follow=True)
        assert answer.status_code in (200, 404)
        assert b"doesn" in answer.content or answer.status_code == 404


def test_hostile_text_in_a_row_is_inert(visitor: Client) -> None:
    acme = enrolment.organization()
    row = enrolment.shared_secret(acme)
    script = "<script>alert(1)</script>"
    enrolment.change(row, common_name=script)
    type(acme).objects.update(name=script)
    for page in (*pages(Credential), *pages(type(acme))):
        assert b"<script>alert" not in visitor.get(page).content


def test_the_lists_load_no_sealed_column(
    stored: Stored, django_assert_max_num_queries: Any
) -> None:
    client = Client()
    client.force_login(user("superuser"))
    with django_assert_max_num_queries(40) as captured:
        client.get(url(Credential, "changelist"))
        client.get(url(Credential, "change", Credential.objects.values("pk")[0]["pk"]))
    assert not any('."sealed_' in query["sql"] for query in captured)
