"""No template of ours names a variable that the page does not have: it would show nothing."""

from __future__ import annotations

import ast
import copy
import re
import sys
from pathlib import Path
from types import FrameType
from typing import Any

import pytest
from django.http import HttpRequest
from django.template.base import Node
from django.template.loader import get_template
from django.test import RequestFactory
from django.utils import timezone

import django_cybs_jwt
from django_cybs_jwt.models import Approval, JobRun, OutboundRequest
from django_cybs_jwt.services import alerts, audit
from django_cybs_jwt.services.alerts import recipients
from tests.unit.admin import people
from tests.unit.admin.addresses import addresses, rows
from tests.unit.admin.people import url
from tests.unit.services import enrolment, estate
from tests.unit.services.estate import DAY

OURS = Path(django_cybs_jwt.__file__).parent / "templates"


class Missing(str):
    """What the engine formats with the name of each variable that is not there."""

    found: set[str]

    def __new__(cls) -> Missing:
        made = super().__new__(cls, "%s")
        made.found = set()
        return made

    def __mod__(self, variable: object) -> str:
        """Notes it with its place, if that is a template of ours; Django's own do name some."""
        if place := _place(sys._getframe(1)):
            self.found.add(f"{variable} in {place}")
        return ""


def _place(frame: FrameType | None) -> str:
    """The template whose node is being rendered."""
    while frame is not None:
        node = frame.f_locals.get("self")
        if isinstance(node, Node) and getattr(node, "origin", None):
            path = Path(node.origin.name)
            return path.name if path.is_relative_to(OURS) else ""
        frame = frame.f_back
    return ""


@pytest.fixture
def missing(settings: Any) -> Missing:
    marker, templates = Missing(), copy.deepcopy(settings.TEMPLATES)
    templates[0]["OPTIONS"]["string_if_invalid"] = marker
    settings.TEMPLATES = templates
    return marker


@pytest.fixture
def stage(cybs_ring: Any, fresh_chain: Any) -> None:
    """A row of every model that has a page, and something for each part of a page."""
    now = timezone.now()
    mall, _, acme = enrolment.family()
    key = enrolment.rsa_key(acme)
    enrolment.shared_secret(mall, covers="all")
    estate.certificate(None, days=5, host=acme.host, now=now)
    shoes = estate.organization("shoes", host=acme.host, parent=mall)
    ending = estate.key(shoes, days=5, now=now)
    estate.successor(ending, now=now, activate_at=now + DAY)
    recipients.add("mail", "night@platform.example", actor="mara")
    alerts.raise_due(now)
    people.limited(people.staff("mara", "viewers"), mall)
    Approval.objects.create(
        credential=key,
        action="destroy",
        fingerprint=key.fingerprint,
        lock_version=key.lock_version,
        requested_by="kim",
        requested_at=now,
        expires_at=now + DAY,
    )
    for state in ("PARKED", "ANSWERED"):
        made = OutboundRequest.objects.create(
            organization=shoes,
            host=shoes.host,
            operation="POST /pts/v2/payments",
            safety="GUARDED",
            idempotency_key=state,
            state=state,
            created_at=now,
            sealed_payload=b"sealed",
        )
        made.attempts.create(number=1, jti=state, kind="answered", started_at=now)
    audit.record(audit.Entry(action="x-ray", actor="kim", organization=str(shoes)))
    JobRun.objects.create(name="tick", succeeded_at=now - 30 * DAY)


def pages(request: HttpRequest) -> list[str]:
    found = ["/admin/cybs_jwt/"]
    for address in addresses():
        model = str(address.model._meta.model_name)
        if not address.of_row:
            found.append(url(model, address.page))
        else:
            found += [url(model, address.page, row.pk) for row in rows(address, request)]
    return found


@pytest.mark.django_db
@pytest.mark.usefixtures("stage")
def test_every_page_has_the_variables_that_its_templates_show(missing: Missing) -> None:
    root = people.superuser()
    request = RequestFactory().get("/")
    request.user = root
    visitor = people.client(root)
    people.password_typed(visitor, timezone.now().timestamp())
    answers = {page: visitor.get(page).status_code for page in pages(request)}
    assert len([page for page, status in answers.items() if status == 200]) > 60
    assert missing.found == set()


def test_a_variable_that_is_not_there_would_be_found(missing: Missing) -> None:
    get_template("cybs_jwt/tile.html").render({"rest": 1, "total": 2, "name": "ready"})
    assert missing.found == {
        "organizations in tile.html",
        "number in tile.html",
        "label in tile.html",
        "lacking in tile.html",
    }


def test_no_text_is_marked_safe_that_came_from_elsewhere() -> None:
    """What stands in a certificate is whoever's who made it: all of it is escaped."""
    for template in OURS.rglob("*.html"):
        assert not re.search(r"\|\s*safe\b|autoescape", template.read_text()), template
    for module in OURS.parent.rglob("*.py"):
        for node in ast.walk(ast.parse(module.read_text())):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
                assert node.func.id != "mark_safe", module
                if node.func.id == "format_html":
                    assert isinstance(node.args[0], ast.Constant), module
