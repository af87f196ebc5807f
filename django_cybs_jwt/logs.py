"""For LOGGING of the host project: lines as JSON from an allow-list, and masks as a second line.

The first line is that this package logs ids, states and classes of errors, and nothing else.
"""

from __future__ import annotations

import json
import logging
import re
import traceback
from datetime import UTC, datetime
from typing import Any, Final

from django_cybs_jwt.card_numbers import has_check_digit

EXTRA: Final = "cybs"
"""The attribute of a record that holds the facts of a request."""

_TOKEN: Final = re.compile(r"eyJ[\w-]{8,}(?:\.[\w-]*)+")
_CARD: Final = re.compile(
    r"(?P<uuid>\b[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}\b)"
    r"|(?<![\w.])(?:\d[ -]?){12,18}\d(?!\w)"
)
_PLAIN: Final = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", EXTRA}


def mask(text: str) -> str:
    """*text* without card numbers, known by their check digit, and without tokens."""
    return _CARD.sub(_masked, _TOKEN.sub("[token]", text))


class MaskingFilter(logging.Filter):
    """Masks card numbers and tokens in a record. Put it on handlers: loggers do not pass it on."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Let every record pass, masked: message, traceback and extra texts."""
        record.msg, record.args = mask(_message(record)), None
        if record.exc_info and record.exc_info[0] is not None:
            # Formatters take this text instead of making their own.
            record.exc_text = mask("".join(traceback.format_exception(*record.exc_info))).rstrip()
        for name in vars(record).keys() - _PLAIN:
            value = getattr(record, name)
            if isinstance(value, str):
                setattr(record, name, mask(value))
        return True


class JsonFormatter(logging.Formatter):
    """One JSON object a line: time, level, logger, message, the facts of the request, the error.

    Of an exception its class and places, never its text.
    """

    def format(self, record: logging.LogRecord) -> str:
        """The line."""
        line: dict[str, Any] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname,
            "logger": record.name,
            "message": mask(_message(record)),
        }
        facts = getattr(record, EXTRA, None)
        if isinstance(facts, dict):
            line |= {key: mask(str(value)) for key, value in facts.items()}
        if record.exc_info and record.exc_info[0] is not None:
            line["error"] = record.exc_info[0].__name__
            frames = traceback.extract_tb(record.exc_info[2])
            line["at"] = [f"{each.filename}:{each.lineno} {each.name}" for each in frames]
        return json.dumps(line, ensure_ascii=False)


def _message(record: logging.LogRecord) -> str:
    try:
        return record.getMessage()
    except Exception:  # noqa: BLE001  # arguments that do not fit: logging must not fail
        return str(record.msg)


def _masked(found: re.Match[str]) -> str:
    if found["uuid"]:  # the id of a row
        return found[0]
    digits = "".join(letter for letter in found[0] if letter.isdigit())
    return f"[card …{found[0][-4:]}]" if has_check_digit(digits) else found[0]
