"""A key or organization without the row of its beginning gives a cut chain away."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.db.models import QuerySet
from django.utils import timezone

from django_cybs_jwt.models import AuditHead, KeyEvent, Organization
from django_cybs_jwt.services import doctor
from django_cybs_jwt.services.audit import chain, origins
from django_cybs_jwt.services.audit.chain import Anchor
from tests.unit.management.running import run
from tests.unit.services import enrolment, estate

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("cybs_ring", "fresh_chain")]


def cut(*, after: int) -> None:
    """Delete the end, and set the head back to match, as whoever can write SQL does."""
    rows = QuerySet(KeyEvent)
    last = rows.filter(seq=after).first()
    rows.filter(seq__gt=after).delete()
    AuditHead.objects.all().delete()
    if last is not None:
        AuditHead.objects.create(pk=1, seq=last.seq, digest=last.digest)


def test_whatever_was_stored_by_this_app_has_its_row() -> None:
    enrolment.shared_secret(enrolment.organization())

    assert chain.verify().faults == []


def test_an_emptied_chain_is_found_by_the_keys_that_are_there() -> None:
    key = enrolment.shared_secret(enrolment.organization())
    cut(after=0)

    (fault,) = chain.verify().faults

    assert fault.startswith(f"Key {key.key_id} of {key.organization} has no row of its import")
    assert run("cybs_audit", "verify").code == 1
    found = {finding.finding for finding in doctor.examine(now=timezone.now()).findings}
    assert "audit" in found


def test_a_cut_that_takes_an_import_or_an_organization_with_it_is_found() -> None:
    enrolment.shared_secret(enrolment.organization())
    last = AuditHead.objects.get().seq
    later = enrolment.shared_secret(enrolment.organization("later"))
    cut(after=last)

    key, owner = chain.verify().faults

    assert later.key_id in key
    assert owner.startswith(f"Organization {later.organization} has no row of its beginning")
    assert chain.verify(since=Anchor(last, AuditHead.objects.get().digest)).faults == []


def test_a_refused_import_is_no_beginning() -> None:
    enrolment.shared_secret(enrolment.organization())
    key = estate.key(Organization.objects.get(), state="STAGED")
    event = KeyEvent.objects.filter(action="import").latest("seq")
    QuerySet(KeyEvent).filter(pk=event.pk).update(credential=key.pk, outcome="denied")

    assert any(key.key_id in fault for fault in origins.missing())


def test_an_organization_from_before_the_ring_needs_no_row() -> None:
    early = estate.organization("early")
    enrolment.organization()
    Organization.objects.filter(pk=early.pk).update(created_at=timezone.now() - timedelta(days=1))

    assert list(origins.missing()) == []


def test_the_keys_of_a_page_are_asked_for_together(
    django_assert_num_queries: Callable[[int], Any],
) -> None:
    acme = enrolment.organization()
    for _ in range(3):
        enrolment.shared_secret(acme, activate=False)

    # The page, its imports, the page behind it; the first row, the organizations after it.
    with django_assert_num_queries(5):
        assert list(origins.missing()) == []
