"""The message catalogue of this package: read from its sources, written, compiled.

`python -m tests.catalogue` brings every `locale/*/LC_MESSAGES/django.po` in step with the
sources and compiles what is translated. makemessages would not find what an error says.
"""

from __future__ import annotations

import ast
import re
import struct
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from inspect import cleandoc
from pathlib import Path

import django_cybs_jwt
from django_cybs_jwt import exceptions

PACKAGE = Path(django_cybs_jwt.__file__).parent
LOCALES = PACKAGE / "locale"
ERRORS = {
    name: each
    for name, each in vars(exceptions).items()
    if isinstance(each, type) and issubclass(each, exceptions.CybsError)
}
SAYS = {"Text", "gettext", "gettext_lazy", "_", "now_", *ERRORS}
COUNTS = {"ngettext", "ngettext_lazy", "counted"}
_FACT = re.compile(r"\{\w+[^{}]*\}|%\(\w+\)[a-z]")
_WORD = re.compile(r"[A-Za-z]")
HEADER = """\
Project-Id-Version: django-cybs-jwt
MIME-Version: 1.0
Content-Type: text/plain; charset=UTF-8
Content-Transfer-Encoding: 8bit
Language: {language}
Plural-Forms: nplurals=2; plural=(n != 1);
"""


@dataclass(order=True)
class Message:
    """One text; *many* where it counts; *places* are the files that say it."""

    one: str
    many: str = ""
    places: set[str] = field(default_factory=set, compare=False)
    said: tuple[str, ...] = field(default=(), compare=False)


# Reading the sources


def messages() -> list[Message]:
    """Every text of the package, in order."""
    found: dict[tuple[str, str], Message] = {}
    for path in sorted(PACKAGE.rglob("*")):
        for one, many in _read(path):
            if not _WORD.search(_FACT.sub("", one)):
                continue  # facts and punctuation say the same in every language
            message = found.setdefault((one, many), Message(one, many))
            message.places.add(path.relative_to(PACKAGE.parent).as_posix())
    return sorted(found.values())


def _read(path: Path) -> Iterator[tuple[str, str]]:
    if path.suffix == ".py" and "migrations" not in path.parts:
        yield from of_module(path.read_text())
    elif path.suffix in (".html", ".txt") and "templates" in path.parts:
        yield from of_template(path.read_text())
    if path.name == "exceptions.py":
        yield from ((cleandoc(each.__doc__ or ""), "") for each in ERRORS.values())
        yield from ((each.page, "") for each in ERRORS.values())


def of_module(source: str) -> Iterator[tuple[str, str]]:
    """What a module says: the first argument of an error or of a gettext, where it is constant."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Call):
            name, texts = name_of(node), [constant(each) for each in node.args]
            if name in SAYS and texts and texts[0]:
                yield texts[0], ""
                yield from ((text, "") for text in pages(node) if text)
            elif name in COUNTS and len(texts) > 1 and texts[0] and texts[1]:
                yield texts[0], texts[1]


def pages(call: ast.Call) -> list[str]:
    """What a page says instead, if it says something else."""
    return [constant(each.value) for each in call.keywords if each.arg == "page"]


def name_of(call: ast.Call) -> str:
    """What is called, without the module that it is taken from."""
    if isinstance(call.func, ast.Attribute):
        return call.func.attr
    return call.func.id if isinstance(call.func, ast.Name) else ""


def constant(node: ast.expr) -> str:
    """The text that *node* always is, or an empty one."""
    return node.value if isinstance(node, ast.Constant) and isinstance(node.value, str) else ""


def of_template(source: str) -> Iterator[tuple[str, str]]:
    """What a template says, by Django's own reading of it."""
    from django.utils.translation.template import templatize

    text = r"""u?('(?:[^'\\]|\\.)*'|"(?:[^"\\]|\\.)*"|'''.*?'''|\"\"\".*?\"\"\")"""
    calls = rf"\b(_|gettext|ngettext)\(\s*{text}(?:\s*,\s*{text})?"
    for kind, one, many in re.findall(calls, templatize(source), re.DOTALL):
        yield ast.literal_eval(one), ast.literal_eval(many) if kind == "ngettext" else ""


# Catalogues as they are stored


def parse(text: str) -> list[Message]:
    """The messages of a .po file, with their translations; its header left out."""
    found = []
    for block in re.split(r"\n\s*\n", text):
        fields: dict[str, str] = {}
        name = ""
        for line in block.splitlines():
            if line.startswith("#"):
                continue
            head, _, rest = line.partition('"')
            name = head.strip() or name
            fields[name] = fields.get(name, "") + ast.literal_eval(f'"{rest}')
        if fields.get("msgid"):
            said = tuple(value for key, value in fields.items() if key.startswith("msgstr"))
            found.append(Message(fields["msgid"], fields.get("msgid_plural", ""), said=said))
    return found


def written(known: Iterable[Message], language: str) -> str:
    """A .po file of these messages."""
    header = HEADER.format(language=language)
    blocks = ['msgid ""\nmsgstr ""\n' + "\n".join(_lines(header))]
    for each in known:
        lines = [f"#: {' '.join(sorted(each.places))}", *_field("msgid", each.one)]
        if each.many:
            one, many = each.said or ("", "")
            lines += _field("msgid_plural", each.many)
            lines += [*_field("msgstr[0]", one), *_field("msgstr[1]", many)]
        else:
            lines += _field("msgstr", "".join(each.said))
        blocks.append("\n".join(lines))
    return "\n\n".join(blocks) + "\n"


def _field(name: str, text: str) -> list[str]:
    if "\n" in text:
        return [f'{name} ""', *_lines(text)]
    return [f"{name} {_quoted(text)}"]


def _lines(text: str) -> list[str]:
    return [_quoted(line) for line in text.splitlines(keepends=True)]


def _quoted(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
    return f'"{escaped}"'


def compiled(known: Iterable[Message], language: str) -> bytes:
    """The .mo file of what is translated, as gettext reads it."""
    pairs = {b"": HEADER.format(language=language).encode()}
    for each in known:
        if all(each.said):
            key = f"{each.one}\0{each.many}" if each.many else each.one
            pairs[key.encode()] = "\0".join(each.said).encode()
    keys = sorted(pairs)
    texts = [*keys, *(pairs[key] for key in keys)]
    start = 28 + 16 * len(keys)
    tables, offset = b"", start
    for each in texts:
        tables += struct.pack("<II", len(each), offset)
        offset += len(each) + 1
    head = struct.pack("<7I", 0x950412DE, 0, len(keys), 28, 28 + 8 * len(keys), 0, start)
    return head + tables + b"".join(each + b"\0" for each in texts)


def in_step(path: Path) -> list[Message]:
    """The messages of the sources, as far as *path* translates them."""
    said = {(each.one, each.many): each.said for each in parse(path.read_text())}
    found = messages()
    for each in found:
        each.said = said.get((each.one, each.many), ())
    return found


def main() -> None:
    """Write every catalogue anew; what the sources say no more is dropped."""
    for path in sorted(LOCALES.glob("*/LC_MESSAGES/django.po")):
        known, language = in_step(path), path.parts[-3]
        path.write_text(written(known, language))
        if language != "en":
            path.with_suffix(".mo").write_bytes(compiled(known, language))
        missing = sum(not all(each.said or ("",)) for each in known)
        sys.stdout.write(f"{language}: {len(known)} texts, {missing} not translated\n")


if __name__ == "__main__":
    import django
    from django.conf import settings

    settings.configure()
    django.setup()
    main()
