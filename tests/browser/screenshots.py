"""Pictures of the screens for the documents: `make screenshots`."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path

from playwright.sync_api import Browser

from tests.browser import chromium
from tests.browser.staging import ROOT, Stage
from tests.browser.visiting import Visitor

FOLDER = ROOT / "docs" / "screenshots"
WIDE, TELEPHONE = 1100, 400
LOWEST, TALLEST = 400, 1400
"""What is longer ends there: more of a list shows nothing new."""

PAGES = {
    "home": "app",
    "organizations": "organization_changelist",
    "organization": "organization_change",
    "readiness": "organization_readiness",
    "keys": "credential_changelist",
    "import": "credential_import",
    "key": "key:shoes",
    "verify": "credential_verify",
    "activate": "credential_activate",
    "replace": "credential_replace",
    "roll-back": "credential_rollback",
    "suspend": "credential_suspend",
    "destroy": "credential_destroy",
    "slot": "keyslot_change",
    "gateway-certificate": "gatewaycertificate_change",
    "expiry": "expiryalert_dashboard",
    "alerts": "expiryalert_changelist",
    "snooze": "expiryalert_snooze",
    "approve": "approval_approve",
    "audit": "keyevent_changelist",
    "recipients": "alertrecipient_changelist",
    "limited-user": "staffscope_change",
    "queue": "outboundrequest_changelist",
    "request": "outboundrequest_change",
}
"""File name, and the page as the stage names it."""

Step = Callable[[Visitor, Mapping[str, str]], object]


def choose_three(visitor: Visitor, place: str, action: str) -> None:
    """Three rows of a list, and what is to be done to them."""
    page = visitor.go(place)
    for number in range(3):
        page.locator("input[name=_selected_action]").nth(number).check()
    page.select_option("select[name=action]", action)
    visitor.click("Go")


def coverage(visitor: Visitor, places: Mapping[str, str]) -> None:
    visitor.go(places["slot:group"].replace("change/", "coverage/"))


def coverage_preview(visitor: Visitor, places: Mapping[str, str]) -> None:
    coverage(visitor, places)
    visitor.page.fill("#id_merchants", "north, south")
    visitor.click("Show what would change")


def dry_run(visitor: Visitor, places: Mapping[str, str]) -> None:
    page = visitor.go(places["organization_dry_run"])
    page.fill("#id_body", '{"clientReferenceInformation": {"code": "order-1"}}')
    visitor.click("Show it")


def bulk_acknowledge(visitor: Visitor, places: Mapping[str, str]) -> None:
    choose_three(visitor, places["expiryalert_changelist"], "acknowledge_many")


def verify_progress(visitor: Visitor, places: Mapping[str, str]) -> None:
    choose_three(visitor, places["credential_changelist"], "verify_many")
    visitor.click("Yes, do it")


STEPS: Mapping[str, Step] = {
    "coverage": coverage,
    "coverage-preview": coverage_preview,
    "what-would-be-sent": dry_run,
    "bulk-acknowledge": bulk_acknowledge,
    "verify-progress": verify_progress,
}
"""What one gets to by doing something, in an order that spoils no other picture."""


def shoot(visitor: Visitor, name: str, width: int = WIDE) -> None:
    """The page as it stands, whole if it is not too long."""
    page = visitor.page
    page.set_viewport_size({"width": width, "height": LOWEST})
    page.locator("#toggle-nav-sidebar").evaluate_all(
        "buttons => document.querySelector('.main.shifted') && buttons[0].click()"
    )
    height = page.evaluate("document.documentElement.scrollHeight")
    page.set_viewport_size({"width": width, "height": min(max(height, LOWEST), TALLEST)})
    page.screenshot(path=FOLDER / f"{name}.png", animations="disabled")


def desk(visitor: Visitor, places: Mapping[str, str]) -> None:
    """Everything on Django's own site."""
    visitor.go(places["credential_password"])
    shoot(visitor, "password")
    visitor.prove()
    for name, place in PAGES.items():
        visitor.go(places[place])
        shoot(visitor, name)
    visitor.go(places["key:shoes"])
    shoot(visitor, "key-on-a-telephone", TELEPHONE)
    for name, step in STEPS.items():
        step(visitor, places)
        shoot(visitor, name)


def in_the_dark(browser: Browser, stage: Stage, site: str, place: str, name: str) -> None:
    visitor = Visitor(browser, stage.site(site), color_scheme="dark").login("root")
    visitor.go(stage.places[place])
    shoot(visitor, name)
    visitor.close()


def main() -> None:
    FOLDER.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as directory, chromium.running() as browser:
        stage = Stage(Path(directory))
        dark = partial(in_the_dark, browser, stage)
        try:
            dark("stock", "app", "home-in-the-dark")
            dark("unfolded", "key:shoes", "key-under-unfold")
            visitor = Visitor(browser, stage.site("stock")).login("root")
            desk(visitor, stage.places)
            visitor.close()
        finally:
            stage.close()


if __name__ == "__main__":
    main()
