"""Pictures of the screens for the documents: `make screenshots`."""

from __future__ import annotations

import struct
import tempfile
import zlib
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path

from playwright.sync_api import Browser

from django_cybs_jwt.testing import material
from tests.browser import chromium
from tests.browser.staging import ROOT, Stage
from tests.browser.visiting import Visitor

FOLDER = ROOT / "docs" / "screenshots"
WIDE, WIDER, TELEPHONE = 1100, 1500, 400
OF_WIDE_TABLES = ("request",)
LOWEST, TALLEST = 400, 1100
SIGNATURE = b"\x89PNG\r\n\x1a\n"
"""A list that is longer ends there: more of it shows nothing new. Other pages are shown whole."""

PAGES = {
    "home": "app",
    "organizations": "organization_changelist",
    "organization": "organization_change",
    "verify-organization": "organization_verify",
    "readiness": "organization_readiness",
    "keys": "credential_changelist",
    "import": "credential_import",
    "key": "key:shoes",
    "safe-to-delete": "key:drums",
    "verifying": "credential_verifying",
    "verify": "credential_verify",
    "activate": "credential_activate",
    "take-back-the-plan": "credential_unschedule",
    "replace": "credential_replace",
    "roll-back": "credential_rollback",
    "suspend": "credential_suspend",
    "resume": "credential_resume",
    "retire": "credential_retire",
    "compromise": "credential_compromise",
    "discard": "credential_discard",
    "ask-for-export": "credential_request_export",
    "destroy": "credential_destroy",
    "slots": "keyslot_changelist",
    "slot": "keyslot_change",
    "gateway-certificates": "gatewaycertificate_changelist",
    "gateway-certificate": "gatewaycertificate_change",
    "expiry": "expiryalert_dashboard",
    "alerts": "expiryalert_changelist",
    "alert": "expiryalert_change",
    "acknowledge": "expiryalert_acknowledge",
    "snooze": "expiryalert_snooze",
    "approvals": "approval_changelist",
    "approval": "approval_change",
    "approve": "approval_approve",
    "reject": "approval_reject",
    "audit": "keyevent_changelist",
    "event": "keyevent_change",
    "verify-audit": "keyevent_verify",
    "export-audit": "keyevent_export",
    "recipients": "alertrecipient_changelist",
    "recipient": "alertrecipient_change",
    "add-recipient": "alertrecipient_add_recipient",
    "change-recipient": "alertrecipient_change_recipient",
    "test-recipient": "alertrecipient_test",
    "remove-recipient": "alertrecipient_deactivate",
    "limited-users": "staffscope_changelist",
    "limited-user": "staffscope_change",
    "limit-user": "staffscope_limit",
    "change-limit": "staffscope_change_limit",
    "lift-limit": "staffscope_lift",
    "queue": "outboundrequest_changelist",
    "request": "outboundrequest_change",
    "retry": "outboundrequest_retry",
    "reconcile": "outboundrequest_reconcile",
    "settle": "outboundrequest_settle",
    "cancel": "outboundrequest_cancel",
}
"""File name, and the page as the stage names it."""

OF_KEYS = {
    "suspend": "key:mall",
    "retire": "key:mall",
    "compromise": "key:mall",
    "verify": "key:harbour",
    "discard": "key:harbour",
}
"""Screens of a key that are best seen of a certain one."""

NO_PICTURE = {
    "_add": "Django's own page, which is refused here",
    "_delete": "Django's own page, which is refused here or leads to a screen",
    "_history": "leads to the audit events of the row",
    "_password": "the password is asked for on one page, taken as `password`",
    "credential_change": "taken of the keys of two merchants, as `key` and `safe-to-delete`",
    "keyslot_coverage": "taken on the way to its preview, as `coverage`",
    "organization_dry_run": "taken with its answer, as `what-would-be-sent`",
}
"""Ends of the names of pages that no picture of PAGES shows, and why."""

BESIDE = ("password", "key-on-a-telephone", "home-in-the-dark", "key-under-unfold", "second-person")
"""Pictures of what is looked at in another way: by somebody else, on another site or screen."""

Step = Callable[[Visitor, Stage], object]


def choose(visitor: Visitor, place: str, action: str, count: int) -> None:
    """Rows of a list, and what is to be done to them."""
    page = visitor.go(place)
    for number in range(count):
        page.locator("input[name=_selected_action]").nth(number).check()
    page.select_option("select[name=action]", action)
    visitor.click("Go")


def coverage(visitor: Visitor, stage: Stage) -> None:
    visitor.go(stage.places["slot:group"].replace("change/", "coverage/"))


def coverage_preview(visitor: Visitor, stage: Stage) -> None:
    coverage(visitor, stage)
    visitor.page.fill("#id_merchants", "north, south")
    visitor.click("Show what would change")


def coverage_refused(visitor: Visitor, stage: Stage) -> None:
    """A name that does not fit is told, and nothing changes."""
    coverage(visitor, stage)
    visitor.page.fill("#id_merchants", "north, nobody")
    visitor.click("Show what would change")


def dry_run(visitor: Visitor, stage: Stage) -> None:
    page = visitor.go(stage.places["organization_dry_run"])
    page.fill("#id_body", '{"clientReferenceInformation": {"code": "order-1"}}')
    visitor.click("Show it")


def bulk_acknowledge(visitor: Visitor, stage: Stage) -> None:
    choose(visitor, stage.places["expiryalert_changelist"], "acknowledge_many", 3)


def bulk_verify(visitor: Visitor, stage: Stage) -> None:
    choose(visitor, f"{stage.places['credential_changelist']}?q=choir", "verify_many", 4)


def verify_progress(visitor: Visitor, stage: Stage) -> None:
    """Some are accepted, one is refused, and one waits."""
    bulk_verify(visitor, stage)
    visitor.click("Yes, do it")
    with stage.breaking(kind="clock_skew", seconds=7200, times=1):
        stage.command("cybs_verify", "--requested")
    visitor.page.reload()


def import_refused(visitor: Visitor, stage: Stage) -> None:
    """A wrong file is named, where it was chosen."""
    upload(visitor, "gallery", b"-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n")


def import_preview(visitor: Visitor, stage: Stage) -> None:
    """A P12 as the Business Center gives it out, with every certificate inside."""
    file = material.p12("gallery")
    upload(visitor, "gallery", file.data, file.password)


def upload(visitor: Visitor, merchant: str, data: bytes, password: str = "") -> None:
    page = visitor.go(f"cybs_jwt/credential/import/?organization={merchant}")
    visitor.choose_file(data)
    page.fill("#id_password", password)
    visitor.click("Upload")


def refused_report(visitor: Visitor, stage: Stage) -> None:
    """What was sent, held against what the gateway checks."""
    visitor.go(stage.places["key:harbour"])
    visitor.click("Verify with the gateway", role="link")
    with stage.breaking(kind="clock_skew", seconds=7200):
        visitor.click("Verify")


STEPS: Mapping[str, Step] = {
    "coverage": coverage,
    "coverage-preview": coverage_preview,
    "coverage-refused": coverage_refused,
    "what-would-be-sent": dry_run,
    "bulk-acknowledge": bulk_acknowledge,
    "bulk-verify": bulk_verify,
    "verify-progress": verify_progress,
    "wrong-file": import_refused,
    "import-preview": import_preview,
    "refused-by-the-gateway": refused_report,
}
"""What one gets to by doing something, in an order that spoils no other picture."""


def second_person(visitor: Visitor, stage: Stage) -> None:
    """Where two people are needed one alone is refused, and the second is asked for."""
    visitor.go(stage.places["key:strongroom"].replace("change/", "activate/"))
    visitor.click("Yes, activate it")


def shoot(visitor: Visitor, name: str, width: int = WIDE) -> None:
    """The page as it stands; whole, unless it is a list."""
    page = visitor.page
    page.set_viewport_size({"width": width, "height": LOWEST})
    page.locator("#toggle-nav-sidebar").evaluate_all(
        "buttons => document.querySelector('.main.shifted') && buttons[0].click()"
    )
    height = page.evaluate("document.documentElement.scrollHeight")
    tallest = TALLEST if page.locator("#changelist, .cybs-pages").count() else height
    page.set_viewport_size({"width": width, "height": min(max(height, LOWEST), tallest)})
    (FOLDER / f"{name}.png").write_bytes(smaller(page.screenshot(animations="disabled")))


def smaller(png: bytes) -> bytes:
    """The same picture, packed as tightly as zlib can: the browser is in a hurry."""
    chunks, place = [], len(SIGNATURE)
    while place < len(png):
        (length,) = struct.unpack(">I", png[place : place + 4])
        chunks.append((png[place + 4 : place + 8], png[place + 8 : place + 8 + length]))
        place += length + 12
    data = zlib.decompress(b"".join(body for kind, body in chunks if kind == b"IDAT"))
    rest = [chunk for chunk in chunks if chunk[0] != b"IDAT"]
    packed = [*rest[:-1], (b"IDAT", zlib.compress(data, 9)), rest[-1]]
    return SIGNATURE + b"".join(
        struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
        for kind, body in packed
    )


def desk(visitor: Visitor, stage: Stage) -> None:
    """Everything on Django's own site."""
    places = stage.places
    visitor.go(places["credential_password"])
    shoot(visitor, "password")
    visitor.prove()
    for name, place in PAGES.items():
        key = places[OF_KEYS[name]] if name in OF_KEYS else ""
        visitor.go(key.replace("change/", f"{name}/") or places[place])
        shoot(visitor, name, WIDER if name in OF_WIDE_TABLES else WIDE)
    visitor.go(places["key:shoes"])
    shoot(visitor, "key-on-a-telephone", TELEPHONE)
    for name, step in STEPS.items():
        step(visitor, stage)
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
            desk(visitor, stage)
            visitor.close()
            alone = Visitor(browser, stage.site("elsewhere")).login("olga")
            alone.prove()
            second_person(alone, stage)
            shoot(alone, "second-person")
            alone.close()
        finally:
            stage.close()


if __name__ == "__main__":
    main()
