from __future__ import annotations

import itertools
import unicodedata
from contextlib import suppress
from dataclasses import replace

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from django_cybs_jwt.exceptions import SealingError, SecretIntegrityError
from django_cybs_jwt.sealing import Context, open_blob, seal
from tests.unit.sealing import spec_envelope
from tests.unit.sealing.sealing_samples import HOME, RING, SECRET, make_context

FIELDS = ("live", "kind", "owner", "row", "field")
SUBSETS = [subset for size in range(1, 6) for subset in itertools.combinations(FIELDS, size)]
# Names as rows have them, any text, and values that try to look like a neighbouring pair.
names = st.one_of(
    st.sampled_from(["credential", "outbound", "sealed_secret", "payload", "owner", "live", ""]),
    st.text(max_size=40),
    st.sampled_from(["a\x00\x04live", "\x00\x05owner", "field\x00\x03row"]),
)
contexts = st.builds(
    Context, live=st.booleans(), kind=names, owner=st.uuids(), row=st.uuids(), field=names
)


def facts(context):
    return {name: getattr(context, name) for name in FIELDS}


def test_a_blob_moved_in_any_of_the_five_facts_never_opens():
    moved = opened = 0

    @settings(max_examples=450, deadline=None, database=None)
    @given(contexts, contexts)
    def move(home, other):
        nonlocal moved, opened
        blob = seal(SECRET, context=home, ring=RING)
        assert open_blob(blob, context=home, ring=RING) == SECRET
        for subset in SUBSETS:
            there = replace(home, **{name: getattr(other, name) for name in subset})
            if there == home:
                continue
            moved += 1
            with suppress(SecretIntegrityError):
                open_blob(blob, context=there, ring=RING)
                opened += 1

    move()

    assert opened == 0
    assert moved >= 10_000


@settings(max_examples=1000, deadline=None, database=None)
@given(contexts, contexts)
def test_two_contexts_are_encoded_alike_only_if_they_are_alike(first, second):
    assert (first.encode() == second.encode()) == (facts(first) == facts(second))


@settings(max_examples=500, deadline=None, database=None)
@given(names, names)
def test_text_may_not_wander_between_kind_and_field(first, second):
    assume(first != second)

    assert (
        make_context(kind=first, field=second, owner=HOME.owner, row=HOME.row).encode()
        != make_context(kind=second, field=first, owner=HOME.owner, row=HOME.row).encode()
    )


@settings(max_examples=300, deadline=None, database=None)
@given(contexts)
def test_the_encoding_is_the_one_of_the_specification(context):
    assert context.encode() == spec_envelope.context(**facts(context))


@pytest.mark.parametrize("field", ["kind", "field"])
def test_composed_and_decomposed_characters_are_two_contexts(field):
    composed = replace(HOME, **{field: "caf\u00e9"})
    decomposed = replace(HOME, **{field: unicodedata.normalize("NFD", "caf\u00e9")})

    blob = seal(SECRET, context=composed, ring=RING)

    assert composed.encode() != decomposed.encode()
    with pytest.raises(SecretIntegrityError):
        open_blob(blob, context=decomposed, ring=RING)


def test_owner_and_row_exchanged_is_another_context():
    exchanged = replace(HOME, owner=HOME.row, row=HOME.owner)

    assert exchanged.encode() != HOME.encode()


@pytest.mark.parametrize(
    "changes",
    [
        *({"kind": value} for value in (None, 1, b"credential", ["credential"])),
        *({"field": value} for value in (None, 1, b"sealed_secret")),
        *({"owner": value} for value in (None, 1, "6643fb9a-8093-47c6-95d3-8d69785b5e62")),
        *({"row": value} for value in (None, 1, "6643fb9a-8093-47c6-95d3-8d69785b5e62")),
        *({"live": value} for value in (None, 1, "live")),
    ],
    ids=str,
)
def test_a_context_of_other_types_is_none(changes):
    with pytest.raises(SealingError, match="A sealing context"):
        replace(HOME, **changes)
