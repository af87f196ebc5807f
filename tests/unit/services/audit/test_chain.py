"""Verifying finds every change to the audit chain; an export is complete and audited itself."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import uuid
from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import pytest
from django.db import connection, transaction
from django.db.models import F
from django.test.utils import CaptureQueriesContext
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from django_cybs_jwt.exceptions import CybsError
from django_cybs_jwt.models import AuditHead, KeyEvent
from django_cybs_jwt.services import audit
from django_cybs_jwt.services.audit import chain
from django_cybs_jwt.services.audit.chain import Anchor, Verification
from django_cybs_jwt.testing import material
from tests.unit.sealing.spec_envelope import hkdf
from tests.unit.services.tampering import exchange, set_head, shift, table

pytestmark = [
    pytest.mark.django_db,
    pytest.mark.usefixtures("cybs_ring", "fresh_chain"),
]

NOW = datetime(2026, 11, 22, 12, 0, 0, 123456, tzinfo=UTC)


def grow(rows: int, *, organization: str = "acme@host", start: datetime = NOW) -> None:
    for number in range(rows):
        entry = audit.Entry(
            action="note",
            actor=f"actor{number}",
            organization=organization,
            reason=f"reason {number}, with \"quotes\", 'ümläuts' and\na line",
        )
        audit.record(entry, now=start + timedelta(minutes=number))


def head() -> AuditHead:
    return AuditHead.objects.get()


def anchor() -> Anchor:
    found = chain.verify().anchor
    assert found is not None
    return found


# -- a whole chain --


@pytest.mark.parametrize("rows", [0, 1, 2, 7])
def test_a_chain_that_nobody_touched_is_whole(rows: int) -> None:
    grow(rows)
    found = chain.verify()
    assert (found.rows, found.faults, found.more) == (rows, [], 0)
    assert found.anchor == (Anchor(rows, head().digest) if rows else None)


def test_a_chain_of_several_pages_is_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(chain, "_PAGE", 3)
    grow(10)
    assert chain.verify() == Verification(rows=10, anchor=Anchor(10, head().digest))


def test_pages_are_read_one_by_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """Memory does not grow with the chain, and no cursor stays open beside writers."""
    monkeypatch.setattr(chain, "_PAGE", 3)
    grow(9)
    with CaptureQueriesContext(connection) as queries:
        chain.verify()
    pages = [query["sql"] for query in queries if "LIMIT 3" in query["sql"]]
    assert len(pages) == 4
    assert {query["sql"].split()[0] for query in queries} == {"SELECT"}


def test_a_row_that_is_appended_while_it_is_read_is_no_fault(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    grow(3)
    before = AuditHead.objects.filter(pk=1).first()
    grow(2)
    found = Verification()
    last = chain._walk(found, before, None, Anchor(0, ""))
    assert (found.faults, last.seq) == ([], 3)


# -- what a fault says; test_mutations.py tries every kind of change --


def test_a_broken_chain_gives_no_anchor() -> None:
    grow(6)
    table(seq__gt=4).delete()
    assert chain.verify().anchor is None


def test_a_fault_names_the_row() -> None:
    grow(6)
    table(seq=3).update(actor="someone else")
    [fault] = chain.verify().faults
    assert fault.startswith("Row 3 ")


def test_a_gap_names_both_sides() -> None:
    grow(6)
    table(seq__in=[3, 4]).delete()
    assert any("Row 5 follows row 2" in fault for fault in chain.verify().faults)


def test_many_faults_are_counted_and_not_all_told() -> None:
    grow(110)
    table().update(actor="x")
    found = chain.verify()
    assert (len(found.faults), found.more) == (100, 10)


def test_another_audit_key_makes_every_row_a_fault(settings: Any) -> None:
    grow(3)
    ring = settings.CYBS_JWT["KEYRING"]
    settings.CYBS_JWT = {"KEYRING": {**ring, "audit_key": material.shared_secret().secret}}
    assert len(chain.verify().faults) == 3


# -- what only an anchor kept elsewhere finds --


def test_a_chain_cut_off_together_with_its_head_is_found_by_the_anchor_alone() -> None:
    grow(6)
    kept = anchor()
    table(seq__gt=4).delete()
    set_head(4)

    assert chain.verify().faults == []
    assert chain.verify(anchor=kept).faults == [
        "Row 6 of the anchor is missing: the end was cut off."
    ]


def test_a_chain_written_anew_with_the_audit_key_is_found_by_the_anchor_alone() -> None:
    grow(6)
    kept = anchor()
    table().delete()
    AuditHead.objects.all().delete()
    grow(8, organization="better")

    assert chain.verify().faults == []
    assert chain.verify(anchor=kept).faults == [
        "Row 6 is not the anchor's: the chain was written anew."
    ]


def test_an_emptied_chain_is_found_by_the_anchor_alone() -> None:
    grow(2)
    kept = anchor()
    table().delete()
    AuditHead.objects.all().delete()

    assert chain.verify().faults == []
    assert chain.verify(anchor=kept).faults


def test_a_chain_that_grew_since_passes_through_its_anchor() -> None:
    grow(3)
    kept = anchor()
    grow(3)
    assert chain.verify(anchor=kept).faults == []


def test_from_an_anchor_on_only_what_follows_is_read() -> None:
    """After a lost ring the rows before it cannot be recomputed; the later ones can."""
    grow(3)
    kept = anchor()
    table(seq=1).update(actor="changed")
    grow(3)

    assert chain.verify().faults
    found = chain.verify(anchor=kept, since=kept)
    assert (found.rows, found.faults) == (3, [])
    table(seq=5).update(actor="changed")
    assert chain.verify(anchor=kept, since=kept).faults


def test_an_anchor_is_read_as_it_is_written() -> None:
    grow(2)
    assert Anchor.parse(str(anchor())) == anchor()


@pytest.mark.parametrize(
    "text", ["", "1", f"0:{'a' * 64}", f"1:{'A' * 64}", "1:ab", f"-1:{'a' * 64}"]
)
def test_what_is_no_anchor_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="SEQ:DIGEST"):
        Anchor.parse(text)


# -- random changes --

TRIED: Counter[str] = Counter()
TEXTS = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=30)
COLUMNS: Final[dict[str, st.SearchStrategy[Any]]] = {
    "id": st.uuids(version=4),
    "at": st.integers(-(10**15), 10**15).map(lambda step: NOW + timedelta(microseconds=step)),
    "actor": TEXTS,
    "action": TEXTS,
    "outcome": st.sampled_from(["done", "denied", ""]),
    "organization": TEXTS,
    "credential": st.none() | st.uuids(version=4),
    "key_id": TEXTS,
    "fingerprint": TEXTS,
    "from_state": st.sampled_from(["", "STAGED", "ACTIVE"]),
    "to_state": st.sampled_from(["", "STAGED", "ACTIVE"]),
    "reason": TEXTS,
    "digest": st.sampled_from(["", "0" * 64]) | TEXTS,
}
LENGTH: Final = 8


@st.composite
def mutations(draw: st.DrawFn) -> tuple[str, dict[str, Any]]:
    kind = draw(st.sampled_from(["edit", "delete", "close up", "insert", "reorder", "cut", "head"]))
    row = draw(st.integers(1, LENGTH))
    told: dict[str, Any] = {"row": row}
    if kind == "edit":
        column = draw(st.sampled_from(sorted(COLUMNS)))
        told |= {"column": column, "value": draw(COLUMNS[column])}
    if kind == "reorder":
        told["other"] = draw(st.integers(1, LENGTH).filter(lambda other: other != row))
    if kind == "insert":
        told |= {name: draw(values) for name, values in COLUMNS.items()}
    if kind == "head":
        told |= draw(
            st.sampled_from([{"seq": -1}, {"seq": 1}, {"digest": ""}, {"digest": "0" * 64}])
        )
    return kind, told


def mutate(kind: str, told: dict[str, Any]) -> bool:
    """Change the chain; False where the change changes nothing."""
    row = told["row"]
    if kind == "edit":
        before = getattr(table(seq=row).get(), told["column"])
        table(seq=row).update(**{told["column"]: told["value"]})
        return bool(before != told["value"])
    if kind in ("delete", "close up"):
        table(seq=row).delete()
        if kind == "close up":
            shift(row, -1)
        return True
    if kind == "insert":
        shift(row - 1, 1)
        columns = {name: told[name] for name in COLUMNS if name != "id"}
        KeyEvent(id=told["id"], seq=row, **columns).save()
        return True
    if kind == "reorder":
        exchange(row, told["other"])
        return True
    if kind == "cut":
        table(seq__gte=row).delete()
        return True
    changes = {"seq": F("seq") + told["seq"]} if "seq" in told else {"digest": told["digest"]}
    return bool(AuditHead.objects.update(**changes))


@settings(
    max_examples=400,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(mutations())
def test_every_random_change_is_found(mutation: tuple[str, dict[str, Any]]) -> None:
    """Found = tried, and afterwards the untouched chain is whole again."""
    if not table().exists():
        grow(LENGTH)
    kind, told = mutation
    with transaction.atomic():
        if mutate(kind, told):
            TRIED[kind] += 1
            assert chain.verify().faults, (kind, told)
        transaction.set_rollback(True)
    assert chain.verify().faults == []


# -- export --


def exported(**options: Any) -> list[dict[str, Any]]:
    return list(chain.export(actor="auditor", now=NOW, **options))


def test_an_export_can_be_verified_with_the_audit_key_and_nothing_else(
    cybs_ring: dict[str, Any],
) -> None:
    grow(5)
    key = hkdf(base64.b64decode(cybs_ring["audit_key"]), bytes(64), b"cybs_jwt:audit")
    lines = [json.dumps(row) for row in exported()]
    previous = ""
    for line in lines:
        row = json.loads(line)
        digest = row.pop("digest")
        told = json.dumps(row, sort_keys=True, separators=(",", ":"))
        assert hmac.new(key, (previous + told).encode(), hashlib.sha256).hexdigest() == digest
        previous = digest
    assert previous == head().digest


def test_an_export_is_audited_and_its_own_row_is_in_it() -> None:
    grow(2)
    rows = exported()
    assert [row["action"] for row in rows] == ["note", "note", "audit-export"]
    assert (rows[-1]["actor"], rows[-1]["reason"]) == ("auditor", "everything")


def test_an_export_is_audited_before_its_first_row_is_taken() -> None:
    grow(2)
    taken = chain.export(actor="auditor", now=NOW, organization="acme")
    assert table(action="audit-export").get().reason == "organization=acme"
    assert len(list(taken)) == 2


def test_an_export_has_every_column() -> None:
    grow(1)
    columns = {field.name for field in KeyEvent._meta.concrete_fields}
    assert set(exported()[0]) == columns


def test_the_time_limits_are_from_and_before() -> None:
    grow(5)
    rows = exported(since=NOW + timedelta(minutes=1), until=NOW + timedelta(minutes=3))
    assert [row["seq"] for row in rows] == [2, 3]


@pytest.mark.parametrize(
    ("name", "found"),
    [
        ("acme", ["acme@one", "acme@two"]),
        ("acme@one", ["acme@one"]),
        ("acm", []),
        ("acme@", []),
        ("%", []),
    ],
)
def test_an_organization_is_named_with_its_host_or_on_all_hosts(
    name: str, found: list[str]
) -> None:
    for organization in ("acme@one", "acme@two", "acme2@one", "other@one"):
        grow(1, organization=organization)
    assert [row["organization"] for row in exported(organization=name)] == found


# -- append-only --

REFUSED: Final[dict[str, Callable[[KeyEvent], object]]] = {
    "save": lambda row: row.save(),
    "save of one column": lambda row: row.save(update_fields=["actor"]),
    "delete": lambda row: row.delete(),
    "update": lambda _: KeyEvent.objects.filter(seq=1).update(actor="x"),
    "update of all": lambda _: KeyEvent.objects.update(actor="x"),
    "delete of many": lambda _: KeyEvent.objects.all().delete(),
    "bulk update": lambda row: KeyEvent.objects.bulk_update([row], ["actor"]),
    "bulk create over others": lambda row: KeyEvent.objects.bulk_create(
        [row], update_conflicts=True, update_fields=["actor"], unique_fields=["seq"]
    ),
    "update or create": lambda _: KeyEvent.objects.update_or_create(seq=1, defaults={"actor": "x"}),
}


@pytest.mark.parametrize("name", REFUSED)
def test_the_model_changes_no_row(name: str) -> None:
    grow(2)
    row = KeyEvent.objects.get(seq=1)
    row.actor = "somebody else"
    with pytest.raises(CybsError, match="append-only"), transaction.atomic():
        REFUSED[name](row)
    assert chain.verify().faults == []


def test_the_model_takes_a_new_row() -> None:
    grow(1)
    event = KeyEvent(id=uuid.uuid4(), seq=2, at=NOW, actor="x", action="x", outcome="done")
    event.save()
    assert KeyEvent.objects.count() == 2
