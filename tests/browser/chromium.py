"""Debian's Chromium under Playwright; where either is missing the tests say so."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from tests.services import missing

if TYPE_CHECKING:
    from playwright.sync_api import Browser

FLAGS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


@contextmanager
def running() -> Iterator[Browser]:
    """A browser; without it skip, and fail where CYBS_REQUIRE_SERVICES=1 asks for it."""
    try:
        from playwright.sync_api import sync_playwright
    except ImportError:
        missing("Playwright is not installed: pip install --group browser.")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=executable(), args=FLAGS)
        yield browser
        browser.close()


def executable() -> str:
    """CHROMIUM, or where Debian puts it."""
    found = os.environ.get("CHROMIUM") or shutil.which("chromium")
    if not found:
        missing("Chromium is not installed: apt-get install chromium, or set CHROMIUM.")
    return found
