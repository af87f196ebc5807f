"""Everything that is said can be translated, and the catalogue has all of it."""

from __future__ import annotations

import ast
import gettext as reading
import io
import re
import string
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from django.core.management import CommandError, call_command
from django.utils import translation
from httpx import ConnectError

from django_cybs_jwt import conf
from django_cybs_jwt.client.outcome import Trace
from django_cybs_jwt.exceptions import CybsError, ExpiredKey
from django_cybs_jwt.models import Credential
from django_cybs_jwt.models.words import ACTIONS
from django_cybs_jwt.protocol import bodies, file_kind, headers, hosts, keys, paths, shared_secrets
from django_cybs_jwt.sealing import KeyRing
from django_cybs_jwt.services import approvals, lifecycle, organizations
from django_cybs_jwt.services.alerts import bulk, trial
from django_cybs_jwt.services.lifecycle import Action
from django_cybs_jwt.services.queue import operating, operating_many
from django_cybs_jwt.texts import LANGUAGE, Text
from tests import catalogue, pseudo

NOW = datetime(2026, 11, 29, tzinfo=UTC)
CATALOGUES = sorted(catalogue.LOCALES.glob("*/LC_MESSAGES/django.po"))
MODULES = sorted(path for path in catalogue.PACKAGE.rglob("*.py") if "migrations" not in path.parts)


@pytest.mark.parametrize("path", CATALOGUES, ids=lambda path: path.parts[-3])
def test_catalogue__is_in_step_with_the_sources(path: Path) -> None:
    """`python -m tests.catalogue` brings it there."""
    known = catalogue.in_step(path)

    assert path.read_text() == catalogue.written(known, path.parts[-3])


def test_catalogue__is_read_again_as_it_was_written() -> None:
    known = [
        catalogue.Message('a "b"\\\n{c}', places={"x.py"}, said=('d\n"e"',)),
        catalogue.Message("%(n)d key", "%(n)d keys", said=("%(n)d Schlüssel", "%(n)d S.")),
    ]

    again = catalogue.parse(catalogue.written(known, "de"))

    assert [(each.one, each.many, each.said) for each in again] == [
        (each.one, each.many, each.said) for each in known
    ]


def test_catalogue__compiles_to_what_gettext_reads() -> None:
    known = [
        catalogue.Message("a key", said=("ein Schlüssel",)),
        catalogue.Message("{n} key", "{n} keys", said=("{n} S", "{n} Sn")),
        catalogue.Message("not said", said=("",)),
    ]

    read = reading.GNUTranslations(io.BytesIO(catalogue.compiled(known, "de")))

    assert read.gettext("a key") == "ein Schlüssel"
    assert read.gettext("not said") == "not said"
    assert [read.ngettext("{n} key", "{n} keys", n) for n in (1, 2)] == ["{n} S", "{n} Sn"]


def calls() -> Iterator[tuple[str, ast.Call]]:
    """Every text that is made, and where."""
    for path in MODULES:
        for node in ast.walk(ast.parse(path.read_text())):
            if (
                isinstance(node, ast.Call)
                and node.args
                and catalogue.name_of(node) in {"Text", "counted", *catalogue.ERRORS}
            ):
                yield f"{path.name}:{node.lineno}", node


def test_a_template_is_a_constant_and_its_facts_are_there() -> None:
    """What somebody wrote would be a template otherwise, with all that its facts reach."""
    wrong = {place: ast.unparse(call) for place, call in calls() if not is_sound(call)}

    assert wrong == {}


def is_sound(call: ast.Call) -> bool:
    facts = {each.arg for each in call.keywords}
    templates = [*(catalogue.constant(each) for each in call.args), *catalogue.pages(call)]
    if not templates[0]:  # a text that was made before, or words of somebody's, never filled
        return not isinstance(call.args[0], ast.JoinedStr)
    facts |= {"count"} if catalogue.name_of(call) == "counted" else set()
    names = {name for text in templates if text for name in fields(text)}
    return None in facts or not facts or names <= facts


NO_PAGE = {
    "bulk_import.py": "a manifest is read by a command only",
    "checks.py": "read where `manage.py check` is",
    "conf.py": "the settings of the project",
    "database_faults.py": "the project's own migrations",
    "digest.py": "a mail",
    "doctor.py": "a command's report",
    "key_ring.py": "key-encryption keys are kept by commands only",
    "keyring.py": "key-encryption keys are kept by commands only",
    "offboarding.py": "a command only",
    "paging.py": "a mail",
    "parking.py": "the settings of the workers",
    "permissions.py": "a command only",
    "proof.py": "a command's report",
    "sdk_settings.py": "a command's report",
    "approvals.py": "pages ask for the approval themselves",
    "organizations.py": "organizations are added by commands only",
    "rotation.py": "a first activation at import is of commands only",
    "resolution.py": "a key ID is released by a command only",
}
"""Modules whose texts may name a command and nothing else, and why."""


def test_what_names_a_command_names_another_way_for_pages_where_there_is_one() -> None:
    left = {
        place: text
        for place, call in calls()
        if (text := str(catalogue.constant(call.args[0])))
        and re.search(r"manage\.py|--[a-z]", text)
        and not catalogue.pages(call)
        and place.partition(":")[0] not in NO_PAGE
    }
    assert left == {}


def fields(template: str) -> set[str]:
    return {name for _text, name, _spec, _conversion in string.Formatter().parse(template) if name}


def test_every_action_has_a_word() -> None:
    assert {*map(str, Action), *approvals.ACTIONS} <= ACTIONS.keys()


@pytest.mark.django_db
def test_a_command_speaks_english_whatever_the_language(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(LANGUAGE, "gettext", lambda text: f"{translation.get_language()}: {text}")

    with translation.override("de"), pytest.raises(CommandError, match="None: No organization"):
        call_command("cybs_org", "disable", "nobody")


@pytest.fixture
def german(tmp_path: Path, settings: Any) -> None:
    """A project's own catalogue, as `docs/languages.md` says."""
    said = {
        "{key_id} ended on {ends:%Y-%m-%d}.": "{key_id} endete am {ends:%d.%m.%Y}.",
        "Test: alerts about keys reach you": "Probe: Warnungen erreichen Sie",
    }
    known = [catalogue.Message(one, said=(german,)) for one, german in said.items()]
    folder = tmp_path / "de" / "LC_MESSAGES"
    folder.mkdir(parents=True)
    (folder / "django.mo").write_bytes(catalogue.compiled(known, "de"))
    settings.LOCALE_PATHS = [tmp_path]


def test_a_projects_own_catalogue_is_spoken_while_its_language_is_active(german: None) -> None:
    error = ExpiredKey("{key_id} ended on {ends:%Y-%m-%d}.", key_id="k1", ends=NOW)

    with translation.override("de"):
        assert str(error) == "k1 endete am 29.11.2026."
        assert error.english == "k1 ended on 2026-11-29."
    assert str(error) == error.english


@pytest.mark.parametrize("code", ["de", "en"])
@pytest.mark.parametrize("active", ["de", "en", None])
def test_a_message_speaks_the_projects_language_whoever_causes_it(
    german: None, settings: Any, active: str | None, code: str
) -> None:
    settings.LANGUAGE_CODE = code
    with translation.override(active):
        digest = trial._digest("mara", NOW)

    german_one = "Probe: Warnungen erreichen Sie"
    assert digest.subject == (german_one if code == "de" else "Test: alerts about keys reach you")


# What refusals say


def refuse(error: CybsError) -> None:
    raise error


MANY: dict[str, Any] = {"actor": "mara", "now": NOW, "reason": "because"}
REFUSALS = {
    "a path with a host": lambda: paths.check_path("https://x"),
    "a body of another type": lambda: bodies.check_body("text"),  # type: ignore[arg-type]
    "a header with a line break": lambda: headers.check_headers({"x": "a\nb"}),
    "a host with a path": lambda: hosts.parse_host("a/b"),
    "a file of another kind": lambda: file_kind.check_size(b"", Text("a P12 file")),
    "a secret that is cut": lambda: shared_secrets.parse_shared_secret("abc"),
    "a secret that is too short": lambda: keys.check_shared_secret("HS512", b"x" * 32),
    "a ring that is no JSON": lambda: KeyRing.from_json("{"),
    "a ring without members": lambda: KeyRing.from_mapping({}),
    "nothing that left": lambda: refuse(Trace().classify(ConnectError("no"))),
    "an organization of no kind": lambda: organizations.add("a", kind="x", host="h", actor="mara"),
    "too many requests": lambda: operating_many.each(operating.cancel, [uuid4()] * 1001, **MANY),
    "too many alerts": lambda: bulk.acknowledge([uuid4()] * 1001, **MANY),
    "a step that is not": lambda: lifecycle.target(Action.RESUME, Credential(state="ACTIVE")),
    "a queue that is not": lambda: conf.Settings(QUEUE={"leese": 1}).queue,
}


@pytest.fixture
def brackets(monkeypatch: pytest.MonkeyPatch) -> None:
    pseudo.speak(monkeypatch.setattr)


@pytest.mark.parametrize("error", catalogue.ERRORS.values(), ids=lambda error: error.__name__)
def test_every_error_says_its_default_in_the_readers_language(
    brackets: None, error: type[CybsError]
) -> None:
    said = error()

    assert pseudo.outside(str(said)) == ""
    assert pseudo.OPEN not in said.english + repr(said)


@pytest.mark.parametrize("refused", REFUSALS.values(), ids=REFUSALS)
def test_a_refusal_speaks_the_readers_language(brackets: None, refused: Any) -> None:
    with pytest.raises(CybsError) as caught:
        refused()

    error = caught.value
    data = [str(fact) for fact in error.facts.values() if not isinstance(fact, Text)]
    assert pseudo.OPEN in str(error)
    assert pseudo.outside(str(error), sorted(data, key=len, reverse=True)) == ""
    assert pseudo.OPEN not in error.english
