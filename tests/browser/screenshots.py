"""Pictures of the screens for the documents: `make screenshots`."""

from __future__ import annotations

import tempfile
from pathlib import Path

from tests.browser import chromium
from tests.browser.staging import ROOT, Stage
from tests.browser.visiting import Visitor

FOLDER = ROOT / "docs" / "screenshots"


def screens(stage: Stage) -> dict[str, str]:
    """File name -> page."""
    places = stage.places
    return {
        "home": places["app"],
        "organizations": places["organization_changelist"],
        "organization": places["organization_change"],
        "readiness": places["organization_readiness"],
        "keys": places["credential_changelist"],
        "import": places["credential_import"],
        "key": places["key:shoes"],
        "activate": places["credential_activate"],
        "roll-back": places["credential_rollback"],
        "suspend": places["credential_suspend"],
        "coverage": places["slot:group"].replace("change/", "coverage/"),
        "expiry": places["expiryalert_dashboard"],
        "alerts": places["expiryalert_changelist"],
        "approve": places["approval_approve"],
        "audit": places["keyevent_changelist"],
        "recipients": places["alertrecipient_changelist"],
        "limited-user": places["staffscope_change"],
    }


def main() -> None:
    FOLDER.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as directory, chromium.running() as browser:
        stage = Stage(Path(directory))
        try:
            visitor = Visitor(browser, stage.site("stock")).login("root")
            visitor.prove()
            visitor.page.set_viewport_size({"width": 1100, "height": 700})
            for name, place in screens(stage).items():
                visitor.go(place)
                visitor.page.locator("#toggle-nav-sidebar").evaluate_all(
                    "buttons => document.querySelector('.main.shifted') && buttons[0].click()"
                )
                visitor.page.screenshot(path=FOLDER / f"{name}.png")
            visitor.page.set_viewport_size({"width": 400, "height": 700})
            visitor.go(stage.places["key:shoes"])
            visitor.page.screenshot(path=FOLDER / "key-on-a-telephone.png")
            visitor.close()
            dark = Visitor(browser, stage.site("unfolded"), color_scheme="dark").login("root")
            dark.page.set_viewport_size({"width": 1100, "height": 700})
            dark.go(stage.places["key:shoes"])
            dark.page.screenshot(path=FOLDER / "key-under-unfold.png")
            dark.close()
        finally:
            stage.close()


if __name__ == "__main__":
    main()
