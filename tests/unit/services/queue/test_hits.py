"""What the search shows is read as the gateway means it, and never as more than it says."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from django_cybs_jwt.services.queue.hits import Fate, Finding, Hit, read, weigh

OK = {"reasonCode": "100", "rCode": "1", "rFlag": "SOK"}
TIMED_OUT = {"reasonCode": "151", "rCode": "-1", "rFlag": "ETIMEOUT"}


def shown(*names: str, applications: Any = None, **information: Any) -> Hit:
    listed = [{"name": name} for name in names] if applications is None else applications
    told = {"applicationInformation": information | {"applications": listed}}
    return read({"id": "7" * 22, **told}, told)


FLAGS = {
    Fate.STANDS: [
        OK,
        {"rFlag": "SOK"},
        {"rFlag": "SPARTIALAPPROVAL", "reasonCode": "110"},
        {"reasonCode": 100},
    ],
    Fate.DECLINED: [
        {"reasonCode": "203", "rCode": "0", "rFlag": "DCARDREFUSED"},
        {"rFlag": "DCARDEXPIRED", "rCode": 0},
        {"rFlag": "DINVALIDCARD"},
        {"reasonCode": "204"},
    ],
    Fate.REFUSED: [
        {"reasonCode": "102", "rCode": "0", "rFlag": "DINVALIDDATA"},
        {"rFlag": "DMISSINGFIELD"},
        {"rFlag": "DDUPLICATE", "reasonCode": "104"},
    ],
    Fate.UNDECIDED: [
        TIMED_OUT,
        {"reasonCode": "250", "rCode": "-1", "rFlag": "ETIMEOUT"},
        {"reasonCode": "150", "rCode": "-1", "rFlag": "ESYSTEM"},
        # Money that is held although it was not accepted.
        {"reasonCode": "200", "rCode": "0", "rFlag": "DAVSNO"},
        {"reasonCode": "230", "rCode": "0", "rFlag": "DCV"},
        {"reasonCode": "480", "rCode": "0", "rFlag": "DREVIEW"},
        {"rFlag": "DNEVERHEARDOF", "rCode": "0"},
        {"rFlag": "SNEVERHEARDOF", "rCode": "1"},
        # What contradicts itself.
        {"rFlag": "SOK", "rCode": "-1"},
        {"rFlag": "DCARDREFUSED", "reasonCode": "250"},
        # Too little.
        {"rCode": "1"},
        {"rCode": "0"},
        {},
        {"rFlag": None, "reasonCode": ["100"]},
    ],
}


@pytest.mark.parametrize(
    ("fate", "told"), [(f, each) for f, all_ in FLAGS.items() for each in all_]
)
def test_only_known_flags_decide_and_only_where_all_that_is_told_agrees(
    fate: Fate, told: dict[str, Any]
) -> None:
    assert shown("ics_auth", **told).fate == fate


def test_without_a_flag_of_its_own_it_is_what_all_its_applications_are() -> None:
    """As in replies of the real gateway, which may flag the applications alone."""
    auth, bill = {"name": "ics_auth", **OK}, {"name": "ics_bill", **OK}
    assert shown(applications=[auth, bill]).fate == Fate.STANDS
    assert shown(applications=[auth, bill | TIMED_OUT]).fate == Fate.UNDECIDED
    assert shown(applications=[auth, {"name": "ics_bill"}]).fate == Fate.UNDECIDED
    assert shown(applications=[]).fate == Fate.UNDECIDED
    assert shown(applications="none").fate == Fate.UNDECIDED


def test_a_void_undoes_and_a_payment_that_was_reversed_at_once_is_undone() -> None:
    for name in ("ics_void", "ics_auth_reversal", "ics_auto_auth_reversal"):
        assert shown(name, **OK).undoes
        both = [{"name": "ics_auth", **OK}, {"name": name, **OK}]
        hit = shown(applications=both, **OK)
        assert (hit.undoes, hit.undone) == (False, True)
        failed = shown(applications=[both[0], both[1] | TIMED_OUT], **OK)
        assert not failed.undone
    assert shown("ics_auth", **OK, status="VOIDED").undone
    assert shown("ics_auth", **OK, status="REVERSED").undone
    assert not shown("ics_auth", **OK, status="TRANSMITTED").undone


BILL, AUTH, DECISION = ({"name": name, **OK} for name in ("ics_bill", "ics_auth", "ics_decision"))
REVERSAL = {"name": "ics_auto_auth_reversal", **OK}


@pytest.mark.parametrize("flags", [OK, {}])
def test_a_capture_that_reverses_the_rest_of_its_authorization_stands(
    flags: dict[str, Any],
) -> None:
    """A capture of less than was authorized: the gateway reverses the authorization first."""
    hit = shown(applications=[REVERSAL, BILL], status="TRANSMITTED", **flags)
    assert (hit.fate, hit.undone) == (Fate.STANDS, False)
    assert weigh([hit])[0] == Finding.STANDS


@pytest.mark.parametrize("money", ["ics_bill", "ics_credit"])
def test_a_void_beside_what_it_takes_back_undoes_it(money: str) -> None:
    hit = shown(applications=[{"name": money, **OK}, {"name": "ics_void", **OK}], **OK)
    assert hit.undone


def test_where_a_reversal_stands_beside_an_authorization_and_a_capture_nobody_knows() -> None:
    hit = shown(applications=[AUTH, BILL, REVERSAL], **OK)
    assert (hit.fate, hit.undone) == (Fate.UNDECIDED, False)


def test_what_only_looks_at_an_authorization_is_reversed_with_it() -> None:
    assert shown(applications=[DECISION, AUTH, REVERSAL], **OK).undone


@pytest.mark.parametrize("status", [None, "", "free text of a card 4111111111111111", 7, "x" * 99])
def test_the_outcome_is_a_word_of_the_gateway_whatever_it_says(status: Any) -> None:
    assert shown("ics_auth", **OK, status=status).outcome == "SOK"
    declined = {"rFlag": "DCARDREFUSED", "status": status}
    assert shown("ics_auth", **declined).outcome == "DECLINED"
    assert shown("ics_auth", **OK, status="TRANSMITTED").outcome == "TRANSMITTED"


STANDS, DECLINED, REFUSED, LOST = (
    Hit(id=fate.value, fate=fate)
    for fate in (Fate.STANDS, Fate.DECLINED, Fate.REFUSED, Fate.UNDECIDED)
)
UNDONE = Hit(id="undone", fate=Fate.STANDS, undone=True)
VOID = Hit(id="void", fate=Fate.STANDS, undoes=True)
VOID_REFUSED = Hit(id="no void", fate=Fate.REFUSED, undoes=True)
VOID_LOST = Hit(id="lost void", fate=Fate.UNDECIDED, undoes=True)
WEIGHED: dict[str, tuple[list[Hit], Finding]] = {
    "nothing": ([], Finding.NOTHING),
    "one": ([STANDS], Finding.STANDS),
    "one and its refused twin": ([STANDS, REFUSED], Finding.STANDS),
    "one and a decline": ([DECLINED, STANDS], Finding.STANDS),
    "one and a refused void": ([STANDS, VOID_REFUSED], Finding.STANDS),
    "one and a void that may have worked": ([STANDS, VOID_LOST], Finding.UNDECIDED),
    "one and a void": ([STANDS, VOID], Finding.UNDONE),
    "a void alone": ([VOID], Finding.UNDONE),
    "one undone": ([UNDONE], Finding.UNDONE),
    "one undone by its void": ([UNDONE, VOID], Finding.UNDONE),
    "one undone, after a void that may have worked": ([UNDONE, VOID_LOST], Finding.UNDONE),
    "a refused void alone": ([VOID_REFUSED], Finding.NOTHING),
    "a refused one": ([REFUSED], Finding.NOTHING),
    "a refused one and a refused void": ([REFUSED, VOID_REFUSED], Finding.NOTHING),
    "a decline": ([DECLINED], Finding.DECLINED),
    "two declines": ([DECLINED, DECLINED], Finding.DECLINED),
    "nobody knows": ([LOST], Finding.UNDECIDED),
    "nobody knows, and a decline": ([LOST, DECLINED], Finding.UNDECIDED),
    "nobody knows, but it was voided": ([LOST, VOID], Finding.UNDONE),
    "one, and one that nobody knows": ([STANDS, LOST], Finding.UNDECIDED),
    "two": ([STANDS, STANDS], Finding.TWICE),
    "two and a void of one of them": ([STANDS, STANDS, VOID], Finding.TWICE),
    "two, one of them undone": ([STANDS, UNDONE, VOID], Finding.STANDS),
    "two, both undone": ([UNDONE, UNDONE], Finding.UNDONE),
    "three, one of them undone": ([STANDS, UNDONE, STANDS], Finding.TWICE),
}


@pytest.mark.parametrize("name", WEIGHED)
def test_what_several_come_to(name: str) -> None:
    found, finding = WEIGHED[name]
    for order in (found, found[::-1]):
        told, hit = weigh(order)
        assert told == finding
        assert (hit is not None) == (finding in (Finding.STANDS, Finding.DECLINED))
        assert hit is None or hit.fate == finding.value


ANY = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=9) | st.sampled_from(["SOK", "0"]),
    lambda each: (
        st.lists(each, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                ["applicationInformation", "applications", "rFlag", "rCode", "reasonCode", "status"]
            ),
            each,
        )
    ),
    max_leaves=9,
)


@given(st.dictionaries(st.just("applicationInformation"), ANY), st.dictionaries(st.text(), ANY))
def test_whatever_comes_it_is_read_and_has_a_word_or_none(
    summary: dict[str, Any], details: dict[str, Any]
) -> None:
    hit = read(summary, details)
    assert len(hit.outcome) <= 64
    assert weigh([hit])[0] in Finding


def test_a_void_that_worked_undoes_the_one_that_stood_beside_a_decline() -> None:
    declined = shown("ics_auth", rFlag="DCARDREFUSED", rCode="0")
    stood, void = shown("ics_auth", **OK), shown("ics_void", **OK)
    assert weigh([declined, stood]) == (Finding.STANDS, stood)
    assert weigh([declined, stood, void]) == (Finding.UNDONE, None)
