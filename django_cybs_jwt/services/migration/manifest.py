"""Read a CSV manifest of keys, and open the files it names.

A manifest holds no secrets, only the names of variables that do. Files lie in its folder.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping
from dataclasses import dataclass, fields
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from django_cybs_jwt.exceptions import (
    ConfigurationError,
    KeyMaterialError,
    UnreadableKeyFile,
    WrongKeyFile,
)
from django_cybs_jwt.models import Coverage, Purpose
from django_cybs_jwt.protocol.file_kind import MAX_BYTES
from django_cybs_jwt.protocol.file_password import encode_password
from django_cybs_jwt.protocol.keys import Secret
from django_cybs_jwt.services import inspection
from django_cybs_jwt.services.inspection import Inspection, Wanted
from django_cybs_jwt.texts import Text
from django_cybs_jwt.tracebacks import forgetful

LARGEST: Final = 4 * 1024 * 1024
MOST_ROWS: Final = 10_000
LONGEST_CELL: Final = 500

_YES: Final = frozenset({"yes", "true", "1"})
_NO: Final = frozenset({"", "no", "false", "0"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One line of a manifest, its cells as they stand there; *number* is its line."""

    number: int
    org_id: str = ""
    file: str = ""
    purpose: str = ""
    password_env: str = ""
    secret_env: str = ""
    key_id: str = ""
    algorithm: str = ""
    expires: str = ""
    slot: str = ""
    covers: str = ""
    activate: str = ""
    kind: str = ""
    host: str = ""
    parent: str = ""
    name: str = ""
    fault: str = ""

    @property
    def organization(self) -> str:
        """`ORG_ID`, with `@HOST` where the row gives a host."""
        return f"{self.org_id}@{self.host}" if self.host else self.org_id

    @property
    def activates(self) -> bool:
        """True when the key shall become the first active one of its slot."""
        return self.activate.lower() in _YES


COLUMNS: Final = tuple(item.name for item in fields(Row) if item.name not in {"number", "fault"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest:
    """The rows of a manifest and the folder that holds its files."""

    folder: Path
    rows: tuple[Row, ...]


@dataclass(frozen=True, slots=True, repr=False, eq=False)
class Variables(Secret):
    """The environment that holds the passwords and shared secrets; a crash report shows none."""

    values: Mapping[str, str]

    def get(self, column: str, name: str) -> str:
        """What the variable holds that *column* names, or KeyMaterialError."""
        try:
            return self.values[name]
        except KeyError:
            # The name is not repeated: somebody may have put the password there.
            raise KeyMaterialError(
                "The variable that {column} names is not set.", column=column
            ) from None


def read_manifest(path: Path) -> Manifest:
    """The manifest at *path*, or ConfigurationError; the rows themselves are not judged yet."""
    lines = csv.reader(io.StringIO(_text(path), newline=""), strict=True)
    try:
        names = _header(next(lines, []))
        rows = tuple(_row(lines.line_num, names, cells) for cells in lines if any(cells))
    except csv.Error as error:
        raise ConfigurationError(
            "Line {line} is not CSV: {cause}.", line=lines.line_num, cause=error
        ) from None
    if len(rows) > MOST_ROWS:
        raise ConfigurationError("More than {most:,} rows. Split the manifest.", most=MOST_ROWS)
    return Manifest(folder=path.parent.resolve(), rows=rows)


@forgetful
def inspect(row: Row, folder: Path, variables: Variables, *, now: datetime) -> Inspection:
    """Open what a row names; *variables* is the environment that holds the secrets.

    Raises KeyMaterialError for a row or a file that is refused.
    """
    _check(row)
    wanted = Wanted(
        purpose=row.purpose,
        owner=row.org_id.partition("@")[0],
        key_id=row.key_id,
        algorithm=row.algorithm,
        expires_at=_day(row.expires) if row.expires else None,
    )
    if row.secret_env:
        secret = variables.get("secret_env", row.secret_env)
        return inspection.inspect_shared_secret(secret, wanted, now=now)
    data = read_key_file(_inside(folder, row.file))
    password = None
    if row.password_env:
        password = encode_password(variables.get("password_env", row.password_env))
    return inspection.inspect_file(data, password, wanted, now=now)


def read_key_file(path: Path) -> bytes:
    """The bytes of a regular file, or UnreadableKeyFile; no more than a key file may have."""
    try:
        if not path.is_file():
            raise UnreadableKeyFile("The file is not there, or not a regular file.")
        with path.open("rb") as file:
            return file.read(MAX_BYTES + 1)
    except OSError as error:
        raise UnreadableKeyFile("The file cannot be read: {cause}.", cause=error.strerror) from None


def _text(path: Path) -> str:
    try:
        with path.open("rb") as file:
            data = file.read(LARGEST + 1)
        text = data.decode("utf-8-sig")
    except OSError as error:
        raise ConfigurationError(
            "The manifest cannot be read: {cause}.", cause=error.strerror
        ) from None
    except UnicodeDecodeError:
        raise ConfigurationError("The manifest is not UTF-8. Save it as CSV UTF-8.") from None
    if len(data) > LARGEST:
        raise ConfigurationError(
            "The manifest is larger than {most} MiB. Split it.", most=LARGEST >> 20
        )
    return text


def _header(cells: list[str]) -> list[str]:
    """Column names; what is wrong is told by position, as the first line may hold anything."""
    names = [cell.strip().lower() for cell in cells]
    for position, name in enumerate(names, start=1):
        if name in COLUMNS:
            continue
        if any(word in name for word in ("password", "secret", "passphrase")):
            raise ConfigurationError(
                "Column {position} would hold secrets, and a manifest holds none. Put each into "
                "a variable and name the variable in password_env or secret_env.",
                position=position,
            )
        raise ConfigurationError(
            "Column {position} of line 1 is not known. Columns are, separated by commas: {known}.",
            position=position,
            known=", ".join(COLUMNS),
        )
    if len(set(names)) < len(names) or not {"org_id", "purpose"} <= set(names):
        raise ConfigurationError("Line 1 names each column once, org_id and purpose among them.")
    return names


def _row(number: int, names: list[str], cells: list[str]) -> Row:
    stripped = [cell.strip() for cell in cells]
    if len(cells) > len(names):
        return Row(number=number, fault=Text("The row has more cells than there are columns."))
    given = dict(zip(names, stripped, strict=False))
    for name, cell in given.items():
        if len(cell) > LONGEST_CELL or not cell.isprintable():
            fault = Text(
                "{name} has a control character or more than {most} characters.",
                name=name,
                most=LONGEST_CELL,
            )
            return Row(number=number, fault=fault)
    return Row(number=number, **given)


def _check(row: Row) -> None:
    if row.fault:
        raise KeyMaterialError(row.fault)
    if row.purpose not in Purpose.values:
        raise KeyMaterialError("purpose is {known}.", known=" or ".join(Purpose.values))
    if row.covers not in {"", *Coverage.values}:
        raise KeyMaterialError("covers is {known}, or empty.", known=", ".join(Coverage.values))
    if row.activate.lower() not in _YES | _NO:
        raise KeyMaterialError("activate is yes, no, or empty.")
    if "@" in row.org_id and row.host:
        raise KeyMaterialError("Give the host once: in org_id or in host.")
    if bool(row.file) == bool(row.secret_env):
        raise KeyMaterialError("Give either file or secret_env.")


def _day(text: str) -> datetime:
    try:
        return datetime.strptime(text, "%Y-%m-%d").replace(tzinfo=UTC)
    except ValueError:
        raise KeyMaterialError("expires is a day like 2027-12-31.") from None


def _inside(folder: Path, name: str) -> Path:
    """The file of that name under *folder*; every way out is refused, symbolic links too."""
    given = Path(name)
    outside = WrongKeyFile("The file is outside the manifest's folder. Put it beside the manifest.")
    if given.is_absolute() or ".." in given.parts:
        raise outside
    try:
        path = (folder / given).resolve(strict=True)
    except (OSError, RuntimeError):  # RuntimeError: links that lead in a circle
        raise UnreadableKeyFile("The file is not in the manifest's folder.") from None
    if not path.is_relative_to(folder):
        raise outside
    return path
