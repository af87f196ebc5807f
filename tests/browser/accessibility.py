"""axe-core on the page as it stands; it comes with the package axe-playwright-python."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from importlib.resources import files
from typing import Any

from playwright.sync_api import Page

RULES = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]


def violations(page: Page, *, of: Sequence[str] = ()) -> list[str]:
    """Each as one line: the rule, what it wants, and where it is broken; *of* names rules."""
    if not page.evaluate("typeof axe === 'object'"):
        page.evaluate(_axe())
    options = {
        "runOnly": {"type": "rule", "values": of} if of else {"type": "tag", "values": RULES},
        # Django labels its search box with a picture that has a text; this rule looks for words.
        "rules": {} if of else {"label-title-only": {"enabled": False}},
        "preload": False,
    }
    found: dict[str, Any] = page.evaluate("options => axe.run(document, options)", options)
    return [
        f"{broken['id']}: {broken['help']}: {node['target']} {node['html'][:160]}"
        for broken in found["violations"]
        for node in broken["nodes"]
    ]


@cache
def _axe() -> str:
    return files("axe_playwright_python").joinpath("axe.min.js").read_text(encoding="utf-8")
