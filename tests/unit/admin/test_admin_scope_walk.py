"""Somebody who sees a part opens every page of it and posts every form: nothing else shows."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import Any

import pytest
from django import forms
from django.contrib.admin import site
from django.contrib.auth.models import User
from django.db import transaction
from django.db.models import Model
from django.test import Client, RequestFactory
from django.utils import timezone

from django_cybs_jwt.models import Organization
from django_cybs_jwt.services import scope, signing
from django_cybs_jwt.testing import material
from django_cybs_jwt.testing.simulation import Simulation
from tests.unit import planted
from tests.unit.admin import people, two_parts
from tests.unit.admin.addresses import Address, addresses, rows
from tests.unit.admin.people import url
from tests.unit.admin.test_admin_walk import GROUPS, may_open, text, undone

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("cybs_ring", "fresh_chain")]

ABSENT = ("staffscope",)  # a limited user sees no limits
TYPED: dict[str, Any] = {
    "reason": "because",
    "days": "5",
    "hours": "5",
    "outcome": "AUTHORIZED",
    "address": "new@example.com",
    "organization": "stand",
    "search": "o",
    "secret": material.shared_secret().secret,
    "key_id": "typed-here",
}
BUTTONS = {"coverage": ("_preview", "_save", "_search")}


@pytest.fixture
def part(cybs_simulator: Simulation) -> Organization:
    return two_parts.plant(cybs_simulator)


@pytest.fixture
def limited(part: Organization) -> User:
    """He may do everything, in his part."""
    return people.limited(people.staff("limited", *GROUPS), part)


@pytest.fixture
def visitor(limited: User) -> Client:
    made = people.client(limited)
    people.password_typed(made, timezone.now().timestamp())
    return made


@pytest.fixture
def needles(limited: User) -> re.Pattern[str]:
    hidden = two_parts.needles(scope.of(limited))
    assert len(hidden) > 40
    return re.compile("|".join(map(re.escape, sorted(hidden))))


def walker(user: User) -> Any:
    request = RequestFactory().get("/")
    request.user = user
    return request


def is_his(address: Address) -> bool:
    model = address.model._meta.model_name or ""
    return model not in ABSENT and any(may_open(group, address) for group in GROUPS)


def of_each_kind(found: Iterable[Model]) -> list[Model]:
    """One row for each state, coverage and whatever else has choices."""
    kinds: dict[tuple[Any, ...], Model] = {}
    for row in found:
        kind = tuple(getattr(row, f.name) for f in row._meta.concrete_fields if f.choices)
        kinds.setdefault(kind, row)
    return list(kinds.values())


def places(user: User) -> Iterator[tuple[Address, str]]:
    """Every page of every kind of his rows; that there is none would hide a page from the walk."""
    for address in addresses():
        if not address.of_row:
            yield address, url(address.model._meta.model_name or "", address.page)
            continue
        found = of_each_kind(rows(address, walker(user)))
        assert found or address.model._meta.model_name in ABSENT, address.name
        for row in found:
            yield address, url(row._meta.model_name or "", address.page, row.pk)


def test_every_page_of_his_part_answers_and_names_nobody_else(
    limited: User, visitor: Client, needles: re.Pattern[str]
) -> None:
    leaks, wrong = {}, {}
    for address, place in list(places(limited)):
        answer = visitor.get(place, follow=True)
        expected = 200 if is_his(address) else 403
        if answer.status_code != expected:
            wrong[place] = answer.status_code
        shown = text(answer)
        assert planted.leaks(shown) == set(), place
        if found := needles.search(shown):
            leaks[place] = found[0]
    assert (leaks, wrong) == ({}, {})
    report = text(visitor.get(url("organization", "readiness"), {"csv": "1"}))
    assert "booth" in report
    assert not needles.search(report)


def test_no_page_of_a_row_beyond_his_part_is_there(
    limited: User, visitor: Client, needles: re.Pattern[str]
) -> None:
    """And none tells by its answer that there is such a row."""
    root = people.superuser()
    wrong = {}
    for address in addresses():
        if not address.of_row:
            continue
        his = {row.pk for row in rows(address, walker(limited))}
        others = (row for row in rows(address, walker(root)) if row.pk not in his)
        for row in of_each_kind(others):
            place = url(row._meta.model_name or "", address.page, row.pk)
            for answer in (visitor.get(place), visitor.post(place, TYPED)):
                expected = {404} if is_his(address) else {403, 404}
                if answer.status_code not in expected:
                    wrong[place] = answer.status_code
    assert wrong == {}


def fillings(name: str, form: Any) -> Iterator[dict[str, Any]]:
    """The form as it comes, with what is to be typed; then each choice of each field in turn."""
    plain = {
        key: TYPED.get(key, form[key].value() if form[key].value() is not None else "")
        for key in form.fields
    }
    yield plain
    for key, field in form.fields.items():
        if isinstance(field, forms.BooleanField):
            yield {**plain, key: "on"}
        elif isinstance(field, forms.ChoiceField):
            for value, _label in field.choices:
                for button in BUTTONS.get(name, ("",)):
                    yield {**plain, key: value, **({button: "1"} if button else {})}


def posts(user: User, visitor: Client) -> Iterator[tuple[str, dict[str, Any]]]:
    """What his screens may be told."""
    for address, place in list(places(user)):
        if address.screen is None or not hasattr(address.screen, "post") or not is_his(address):
            continue
        if address.page != "password":
            context = visitor.get(place).context
            for data in fillings(address.page, context["form"]):
                yield place, data


def actions(user: User) -> Iterator[tuple[str, dict[str, Any]]]:
    """His lists' actions on all that he sees, before and after they are confirmed."""
    for model, admin in site._registry.items():
        for action in getattr(admin, "bulk", ()):
            chosen: list[Model] = list(admin.get_queryset(walker(user)))
            data = {
                "action": action.name,
                "index": "0",
                "_selected_action": [row.pk for row in chosen],
                "count": str(len(chosen)),
                **TYPED,
            }
            place = url(model._meta.model_name or "", "changelist")
            yield place, data
            yield place, {**data, "cybs_confirmed": "1"}


def test_whatever_he_posts_the_page_that_answers_names_nobody_else(
    limited: User, visitor: Client, needles: re.Pattern[str]
) -> None:
    """Refusals, previews and what was done, with the pages that they lead to."""
    leaks, count = {}, 0
    for place, data in [*posts(limited, visitor), *actions(limited)]:
        with undone():
            answer = visitor.post(place, data, follow=True)
            shown = text(answer)
        signing.forget()
        count += 1
        assert answer.status_code in (200, 403), (place, data, answer.status_code)
        assert planted.leaks(shown) == set(), place
        if found := needles.search(shown):
            leaks[f"{place} {data}"] = found[0]
    assert leaks == {}
    assert count > 150


def test_the_walk_would_find_a_name(limited: User, needles: re.Pattern[str]) -> None:
    """The same pages, seen by somebody without a limit."""
    root = people.client(people.superuser())
    for page in ("organization", "credential", "keyevent", "expiryalert", "approval"):
        assert needles.search(text(root.get(url(page, "changelist")))), page
    with transaction.atomic():
        booth = Organization.objects.get(org_id="booth")
        assert needles.search(text(root.get(url("organization", "change", booth.pk))))
