"""Read the official SDK's configuration: JSON of its dictionary, of a list or of named ones.

Every value may be a secret: messages name members, never what they hold.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, cast

from django_cybs_jwt.exceptions import (
    ConfigurationError,
    InvalidHost,
    KeyMaterialError,
    UnreadableKeyFile,
)
from django_cybs_jwt.protocol.certificate_facts import clean_text
from django_cybs_jwt.protocol.hosts import PRESETS, parse_host
from django_cybs_jwt.protocol.keys import Secret
from django_cybs_jwt.services.migration.manifest import read_key_file
from django_cybs_jwt.texts import Text
from django_cybs_jwt.tracebacks import forgetful

LARGEST: Final = 1024 * 1024

# What old SDKs called their environments. India has no test host of its own.
_OLD_ENVIRONMENTS: Final = {
    "cybersource.environment.sandbox": "apitest.cybersource.com",
    "cybersource.environment.production": "api.cybersource.com",
    "cybersource.in.environment.sandbox": "apitest.cybersource.com",
    "cybersource.in.environment.production": "api.in.cybersource.com",
}
_OTHER_NAMES: Final = {"keypass": "keypassword"}  # the SDKs for Java, Node and .NET say keyPass

_ELSEWHERE: Final = {
    "intermediatehost": Text("CYBS_JWT['BASE_URLS'] sends a host's requests through another."),
    "proxyaddress": Text("CYBS_JWT['PROXY'] names a proxy."),
    "maptocontrolmleonapi": Text("CYBS_JWT['OPERATIONS'] overrides which requests are encrypted."),
    "enableresponsemleglobally": Text("CYBS_JWT['RESPONSE_MLE'] asks for encrypted replies."),
    "sslverify": Text("CYBS_JWT['CA_BUNDLE'] names another certificate authority."),
    "enableclientcert": Text("Mutual TLS is not carried over."),
    "jwepemfiledirectory": Text(
        "Import that key with `manage.py cybs_import --purpose response-mle`."
    ),
}


class Members:
    """One configuration's members by name, in any spelling; it remembers which were read."""

    def __init__(self, raw: Mapping[str, Any]) -> None:
        """Raises KeyMaterialError when two spellings of one member say different things."""
        self._values: dict[str, Any] = {}
        self._spelled: dict[str, str] = {}
        self._read: set[str] = set()
        for spelling, value in raw.items():
            name = _plain(spelling)
            if value is None or value == "":
                continue
            if self._values.setdefault(name, value) != value:
                raise KeyMaterialError(
                    "{one} and {other} say different things. Leave one out.",
                    one=self._spelled[name],
                    other=clean_text(spelling),
                )
            self._spelled.setdefault(name, clean_text(spelling))

    def text(self, name: str) -> str:
        """The text of a member, empty where it is not given."""
        value = self._get(name)
        if not isinstance(value, str):
            raise KeyMaterialError("{name} must be text.", name=name)
        return value

    def need(self, name: str) -> str:
        """The text of a member that cannot be missing."""
        if not (found := self.text(name)):
            raise KeyMaterialError("{name} is missing.", name=name)
        return found

    def flag(self, name: str) -> bool:
        """True or false, written as JSON or as text; the SDK takes the text "false" for true."""
        value = str(self._get(name) or False).lower()
        if value not in {"true", "false"}:
            raise KeyMaterialError("{name} must be true or false.", name=name)
        return value == "true"

    @property
    def used(self) -> tuple[str, ...]:
        """The members that were read, as they are spelled in the file."""
        return tuple(sorted(self._spelled[name] for name in self._read))

    @property
    def ignored(self) -> tuple[str, ...]:
        """The members that were not."""
        return tuple(sorted(self._spelled[name] for name in self._values.keys() - self._read))

    @property
    def notices(self) -> tuple[str, ...]:
        """Where this app keeps what some of the ignored members say."""
        left = sorted(_ELSEWHERE.keys() & (self._values.keys() - self._read))
        return tuple(f"{self._spelled[name]}: {_ELSEWHERE[name]}" for name in left)

    def _get(self, name: str) -> Any:
        plain = _plain(name)
        if plain in self._values:
            self._read.add(plain)
        return self._values.get(plain, "")


@dataclass(frozen=True, slots=True, kw_only=True, repr=False, eq=False)
class Configuration(Secret):
    """One configuration under its *name*; its files are looked for from *folder*."""

    name: str
    folder: Path
    raw: Mapping[str, Any]


@forgetful
def read_configurations(path: Path) -> list[Configuration]:
    """The configurations in a JSON file, or ConfigurationError."""
    parsed = _parse(path)
    if isinstance(parsed, dict) and not _is_configuration(parsed):
        named = [(clean_text(name), each) for name, each in parsed.items()]
    else:
        several = parsed if isinstance(parsed, list) else [parsed]
        named = [(str(number), each) for number, each in enumerate(several, start=1)]
    if not named or not all(isinstance(each, dict) for _, each in named):
        raise ConfigurationError(
            "The file holds no SDK configuration. Write its dictionary, a list of them, or "
            'one object {"NAME": {...}} with json.dumps().'
        )
    folder = path.parent.resolve()
    return [
        Configuration(name=name, folder=folder, raw=cast("dict[str, Any]", each))
        for name, each in named
    ]


def host_of(members: Members) -> str:
    """The host that `run_environment` names, or InvalidHost."""
    environment = members.need("run_environment").strip()
    known = _OLD_ENVIRONMENTS.get(environment.lower())
    try:
        return known or parse_host(environment)
    except InvalidHost:
        raise InvalidHost(
            "run_environment is not a host. It is one of {known}, or a host of "
            "your own whose organization is stored already.",
            known=", ".join(PRESETS),
        ) from None


def read_p12(members: Members, folder: Path, merchant: str) -> bytes:
    """The signing P12: `keys_directory`/`key_file_name`.p12, by default named as the merchant."""
    name = members.text("key_file_name") or merchant
    return _first(
        [
            directory / spelling
            for directory in _directories(members, folder)
            for spelling in (f"{name}.p12", name)
        ],
        Text("The file that keys_directory and key_file_name name is not there."),
    )


def read_named(members: Members, folder: Path, name: str) -> bytes:
    """The file that the member *name* names, from *folder* or from `keys_directory`."""
    given = members.need(name)
    places = [folder / given, *(place / given for place in _directories(members, folder))]
    return _first(places, Text("The file that {name} names is not there.", name=name))


def _first(places: list[Path], missing: str) -> bytes:
    try:
        found = next((place for place in places if place.is_file()), None)
    except (OSError, ValueError):
        found = None
    if found is None:
        raise UnreadableKeyFile(
            "{missing} Paths count from the configuration's own folder.", missing=missing
        )
    return read_key_file(found)


def _directories(members: Members, folder: Path) -> list[Path]:
    """The key directory that is named; else where the SDK looks, and the file's own folder."""
    given = members.text("keys_directory")
    return [folder / given] if given else [folder / "resources", folder]


def _parse(path: Path) -> Any:
    try:
        with path.open("rb") as file:
            data = file.read(LARGEST + 1)
    except OSError as error:
        raise ConfigurationError(
            "The file cannot be read: {cause}.", cause=error.strerror
        ) from None
    if len(data) > LARGEST:
        raise ConfigurationError(
            "The file is larger than {most} MiB. Split it.", most=LARGEST >> 20
        )
    try:
        return json.loads(data.decode("utf-8-sig"), object_pairs_hook=_once)
    except (ValueError, RecursionError):
        raise ConfigurationError(
            "The file is not JSON, or names one member twice. "
            "json.dumps(configuration, default=str) writes what the SDK takes."
        ) from None


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError
    return found


def _is_configuration(parsed: Mapping[str, Any]) -> bool:
    return bool({"merchantid", "authenticationtype", "runenvironment"} & set(map(_plain, parsed)))


def _plain(name: str) -> str:
    plain = name.replace("_", "").lower()
    return _OTHER_NAMES.get(plain, plain)
