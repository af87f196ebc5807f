"""An organization with a key stays who and where it is, whichever way somebody writes to it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from django.db import IntegrityError, transaction
from django.utils import timezone

from django_cybs_jwt.exceptions import OrganizationConflict
from django_cybs_jwt.models import Organization
from django_cybs_jwt.services import withdrawal
from tests.unit.services import enrolment

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("cybs_ring")]

MOVES = {"org_id": "mallory", "host": enrolment.OTHER_HOST, "live": True}
every_move = pytest.mark.parametrize("name", MOVES)


def saved(row: Organization, name: str, value: object) -> None:
    setattr(row, name, value)
    row.save()


def saved_by_name(row: Organization, name: str, value: object) -> None:
    setattr(row, name, value)
    row.save(update_fields=[name])


def saved_lean(row: Organization, name: str, value: object) -> None:
    lean = Organization.objects.only(name).get(pk=row.pk)
    setattr(lean, name, value)
    lean.save()


def updated(row: Organization, name: str, value: object) -> None:
    Organization.objects.filter(pk=row.pk).update(**{name: value, "name": "x"})


def updated_all(row: Organization, name: str, value: object) -> None:
    Organization.objects.update(**{name: value})


def updated_in_bulk(row: Organization, name: str, value: object) -> None:
    setattr(row, name, value)
    Organization.objects.bulk_update([row], [name, "name"])


def updated_from_the_parent(row: Organization, name: str, value: object) -> None:
    assert row.parent is not None
    row.parent.children.update(**{name: value})


def created_over(row: Organization, name: str, value: object) -> None:
    setattr(row, name, value)
    Organization.objects.bulk_create(
        [row], update_conflicts=True, unique_fields=["id"], update_fields=[name]
    )


WAYS: list[Callable[[Organization, str, object], None]] = [
    saved,
    saved_by_name,
    saved_lean,
    updated,
    updated_all,
    updated_in_bulk,
    updated_from_the_parent,
    created_over,
]
every_way = pytest.mark.parametrize("way", WAYS, ids=lambda way: way.__name__)


@pytest.fixture
def acme() -> Organization:
    portfolio = enrolment.organization("portfolio", kind="portfolio")
    return enrolment.organization(parent=portfolio.org_id)


def facts(row: Organization) -> tuple[Any, ...]:
    return Organization.objects.values_list("org_id", "host", "live").get(pk=row.pk)


@every_way
@every_move
def test_with_a_key_it_is_not_moved(acme: Organization, name: str, way: Any) -> None:
    enrolment.shared_secret(acme)
    before = facts(acme)
    refused = pytest.raises(OrganizationConflict, match="Add another organization")
    with refused, transaction.atomic():
        way(acme, name, MOVES[name])
    assert facts(acme) == before


@every_move
def test_a_destroyed_key_holds_it_too(acme: Organization, name: str) -> None:
    key = enrolment.shared_secret(acme, activate=False)
    withdrawal.destroy(key, actor="tests", now=timezone.now(), reason="left")
    with pytest.raises(OrganizationConflict):
        saved(acme, name, MOVES[name])


@pytest.mark.parametrize("way", [saved, saved_by_name, saved_lean, updated, updated_in_bulk])
@every_move
def test_without_a_key_it_may_be_corrected(acme: Organization, name: str, way: Any) -> None:
    enrolment.shared_secret(enrolment.organization("other"))
    way(acme, name, MOVES[name])
    assert MOVES[name] in facts(acme)


@pytest.mark.parametrize("way", [saved, saved_by_name, updated, updated_in_bulk])
def test_what_is_no_part_of_its_keys_changes_at_any_time(acme: Organization, way: Any) -> None:
    enrolment.shared_secret(acme)
    way(acme, "response_mle", "required")
    assert Organization.objects.get(pk=acme.pk).response_mle == "required"


@pytest.mark.parametrize("way", [saved, updated, updated_in_bulk])
@every_move
def test_writing_what_is_there_already_moves_nothing(
    acme: Organization, name: str, way: Any
) -> None:
    enrolment.shared_secret(acme)
    way(acme, name, getattr(acme, name))
    assert facts(acme) == (acme.org_id, acme.host, acme.live)


def test_a_new_row_costs_no_query_more(acme: Organization, django_assert_num_queries: Any) -> None:
    with django_assert_num_queries(1):
        Organization.objects.create(org_id="new", kind="merchant", host=enrolment.HOST)
    with pytest.raises(IntegrityError):
        Organization.objects.create(org_id="new", kind="merchant", host=enrolment.HOST)
