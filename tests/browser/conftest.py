from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import TYPE_CHECKING, Any

import pytest

from tests.browser import chromium
from tests.browser.staging import Stage

if TYPE_CHECKING:
    from playwright.sync_api import Browser

    from tests.browser.visiting import Visitor

    Somebody = Callable[..., AbstractContextManager[Visitor]]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if "tests/browser/" in str(item.path):
            item.add_marker("browser")
            item.add_marker("alone")  # one stage, and a browser that wants a core


@pytest.fixture(scope="session")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    """One estate for all browser tests; each journey has merchants of its own."""
    chromium.executable()  # before all that work
    made = Stage(tmp_path_factory.mktemp("stage"))
    try:
        yield made
    finally:
        made.close()


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """For one module only: under Playwright's loop Django's ORM refuses to work."""
    with chromium.running() as made:
        yield made


@pytest.fixture
def somebody(stage: Stage, browser: Browser) -> Somebody:
    """`with somebody("olga", site="stock") as olga:`; axe looks at the page she leaves."""
    from tests.browser.accessibility import violations
    from tests.browser.visiting import visitor

    @contextmanager
    def on(name: str, *, site: str = "stock", **options: Any) -> Iterator[Visitor]:
        with visitor(browser, stage.site(site), name, **options) as made:
            yield made
            before = list(made.problems)
            # Only of Django's own look, and not of the bare page that says 403 or 404.
            is_ours = site == "stock" and made.page.locator("#container").count()
            found = violations(made.page) if is_ours else []
            made.problems[:] = before  # axe-core writes styles, which the policy forbids
        assert found == []

    return on
