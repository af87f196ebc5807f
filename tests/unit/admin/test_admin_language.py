"""Every page says what it says in the reader's language; data is data in any."""

from __future__ import annotations

from itertools import chain
from typing import Any

import pytest
from django.apps import apps
from django.contrib.auth.models import User
from django.db import models
from django.test import Client
from django.utils import timezone
from django.utils.translation import gettext as _

from django_cybs_jwt.models import KeyEvent
from django_cybs_jwt.models.words import ACTIONS
from django_cybs_jwt.testing.simulation import Simulation
from tests import pseudo
from tests.unit.admin import people, two_parts
from tests.unit.admin.test_admin_scope_walk import TYPED, actions, places, posts
from tests.unit.admin.test_admin_walk import text, undone

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("cybs_ring", "fresh_chain")]

CODES = ("action", "outcome", "purpose", "kind", "channel", "coverage", "safety", "severity")
"""Columns whose values a page has words for."""
EXCEPTIONS = {
    "the name of Django's icons, which it does not translate": ("True", "False", "Search"),
    "a menu of the Business Center, which is English": (
        "REST - Certificate",
        "REST - Shared Secret",
        "REST - API Response MLE",
    ),
    "the code of a channel, as ALERT_CHANNELS and commands name it": ("mail", "Mail", "webhook"),
}


@pytest.fixture
def root(cybs_simulator: Simulation, monkeypatch: pytest.MonkeyPatch) -> User:
    two_parts.plant(cybs_simulator)
    pseudo.speak(monkeypatch.setattr)
    return people.superuser()


@pytest.fixture
def visitor(root: User) -> Client:
    made = people.client(root)
    people.password_typed(made, timezone.now().timestamp())
    return made


def data() -> set[str]:
    """What rows hold, what was typed, and the exceptions."""
    found = {"root", "limited", *map(str, TYPED.values()), *chain(*EXCEPTIONS.values())}
    for model in apps.get_app_config("cybs_jwt").get_models():
        names = [
            field.name
            for field in model._meta.concrete_fields
            if not isinstance(field, models.BinaryField) and field.name not in CODES
        ]
        for values in model._default_manager.values_list(*names):
            found.update(line for value in values for line in str(value or "").splitlines())
    return found


def left(answer: Any) -> set[str]:
    """What an answer says outside the brackets."""
    if answer.status_code != 200 or not answer["Content-Type"].startswith("text/html"):
        return set()
    signed = answer.context and answer.context.get("signed")
    wire = {*signed["headers"], *signed["claims"]} if signed else set()
    known = sorted((each for each in data() | wire if len(each) > 2), key=len, reverse=True)
    return pseudo.unsaid(text(answer), known)


def test_every_page_speaks_the_readers_language(root: User, visitor: Client) -> None:
    found: dict[str, str] = {}
    for place in ["/admin/cybs_jwt/", *(place for _address, place in places(root))]:
        found |= dict.fromkeys(left(visitor.get(place, follow=True)), place)
    assert found == {}


def test_whatever_is_posted_is_answered_in_the_readers_language(
    root: User, visitor: Client
) -> None:
    found: dict[str, str] = {}
    for place, fields in [*posts(root, visitor), *actions(root)]:
        with undone():
            found |= dict.fromkeys(left(visitor.post(place, fields, follow=True)), place)
            assert {*KeyEvent.objects.values_list("action", flat=True)} <= ACTIONS.keys()
    assert found == {}


def test_a_text_without_a_translation_would_be_found(monkeypatch: pytest.MonkeyPatch) -> None:
    pseudo.speak(monkeypatch.setattr)
    page = '<p title="Help">{} <code>ls</code> and <b>acme</b></p>'.format(_("Reason"))

    assert pseudo.unsaid(page, ["acme"]) == {"Help", "and"}
