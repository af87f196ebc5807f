from __future__ import annotations

import copy
import json
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import pytest

from django_cybs_jwt.exceptions import (
    CybsError,
    KeyUnavailable,
    NotSent,
    OrganizationNotFound,
    UnreadableKeyFile,
)
from django_cybs_jwt.services.languages import house_language
from django_cybs_jwt.texts import LANGUAGE, Text, listed, on_page

GERMAN = {
    "It ended on {day}.": "Am {day} endete es.",
    "a key": "ein Schlüssel",
    "This is {what}.": "Das ist {what}.",
    "Broken {day}.": "Kaputt {tag}.",
    "Nothing was sent ({error}); sending again is safe.": "Nichts gesendet ({error}).",
}


@pytest.fixture
def german(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(LANGUAGE, "gettext", lambda text: GERMAN.get(text, text))


def test_text__is_its_english_sentence_in_every_language(german: None) -> None:
    text = Text("It ended on {day}.", day="Monday")

    assert text == text.english == "It ended on Monday."
    assert json.dumps([text]) == '["It ended on Monday."]'
    assert {text: 1}["It ended on Monday."] == 1


def test_text__is_shown_in_the_language_that_is_active_then(german: None) -> None:
    text = Text("It ended on {day}.", day="Monday")

    assert str(text) == f"{text}" == "%s" % text == "Am Monday endete es."  # noqa: UP031 - as pages do


def test_text__shows_the_texts_inside_it_in_the_same_language(german: None) -> None:
    text = Text("This is {what}.", what=Text("a key"))

    assert text == "This is a key."
    assert str(text) == "Das ist ein Schlüssel."


def test_text__stays_english_where_a_translation_names_a_fact_there_is_not(german: None) -> None:
    assert str(Text("Broken {day}.", day="Monday")) == "Broken Monday."


def test_text__of_a_text_is_the_same_text_with_more_facts(german: None) -> None:
    again = Text(Text("It ended on {day}.", day="Monday"), known=True)

    assert str(again) == "Am Monday endete es."
    assert again.facts == {"day": "Monday", "known": True}


def test_text__on_a_page_writes_dates_as_the_site_does_and_is_english_to_programs(
    settings: Any,
) -> None:
    settings.TIME_ZONE = "America/New_York"
    ends = datetime(2026, 11, 3, 2, tzinfo=UTC)
    text = Text("It ended on {ends:%Y-%m-%d}, at {ends:%Y-%m-%d %H:%M UTC}", ends=ends)

    with on_page():
        assert str(text) == "It ended on Nov. 2, 2026, at Nov. 2, 2026, 9 p.m."
        assert text == text.english == "It ended on 2026-11-03, at 2026-11-03 02:00 UTC"
        with house_language():
            assert str(text) == text.english
    assert str(text) == text.english


def test_text__on_a_page_names_the_page_that_mends_it_instead_of_the_command() -> None:
    error = OrganizationNotFound("No {name!r}: `cybs_org list`.", page="No {name!r}.", name="a")

    with on_page():
        assert str(error) == f"{error.text}" == "No 'a'."
        assert str(Text("{what}", what=error.text)) == "No 'a'."
    assert str(error) == error.english == "No 'a': `cybs_org list`."


def test_counted__takes_the_form_that_fits_the_number(
    german: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(LANGUAGE, "ngettext", lambda _one, _many, count: f"{{count}} ({count})")
    keys = [Text.counted("{count} key", "{count} keys", count) for count in (1, 2)]

    assert keys == ["1 key", "2 keys"]
    assert [str(text) for text in keys] == ["1 (1)", "2 (2)"]


def test_text__without_facts_may_hold_braces() -> None:
    assert Text("/pts/v2/payments/{id}") == "/pts/v2/payments/{id}"


@pytest.mark.parametrize("copied", [copy.copy, copy.deepcopy])
def test_text__survives_being_copied(german: None, copied: Callable[[Text], Text]) -> None:
    text = copied(Text("It ended on {day}.", day="{day}"))

    assert text.english == "It ended on {day}."
    assert str(text) == "Am {day} endete es."


def test_text__keeps_no_hold_of_what_it_was_made_of() -> None:
    assert Text("{row}", row=UUID(int=1)).facts == {"row": str(UUID(int=1))}


def test_listed__shows_each_text_in_the_readers_language(german: None) -> None:
    several = listed([Text("a key"), "{x}"])

    assert several == "a key, {x}"
    assert str(several) == "ein Schlüssel, {x}"


def test_error__speaks_the_language_that_is_active_and_keeps_its_english(german: None) -> None:
    error = NotSent("Nothing was sent ({error}); sending again is safe.", error="ReadTimeout")

    assert str(error) == "Nichts gesendet (ReadTimeout)."
    assert (
        error.english == error.args[0] == "Nothing was sent (ReadTimeout); sending again is safe."
    )


def test_error__survives_being_copied_with_its_facts(german: None) -> None:
    error = copy.copy(NotSent("Nothing was sent ({error}); sending again is safe.", error="x"))

    assert (str(error), error.facts) == ("Nichts gesendet (x).", {"error": "x"})


def test_error__does_not_fill_what_others_wrote_with_facts_it_learns_later() -> None:
    error = CybsError("{facts.__class__}")
    error.facts["facts"] = 1

    assert str(error) == "{facts.__class__}"


@pytest.mark.parametrize("error", [UnreadableKeyFile, KeyUnavailable])
def test_error__says_its_docstring_by_default(error: type[CybsError]) -> None:
    assert str(error()).split("\n", maxsplit=1)[0] in str(error.__doc__)
