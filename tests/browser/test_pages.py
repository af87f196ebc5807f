"""Every page of this app, as a browser and those who cannot see well meet it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from tests.browser.staging import Stage

if TYPE_CHECKING:
    from tests.browser.conftest import Somebody

REFUSED = ("_add", "_delete")
KINDS = (
    *("app", "organization_changelist", "organization_change", "credential_change"),
    *("credential_activate", "credential_import", "expiryalert_dashboard"),
    *("organization_readiness", "outboundrequest_change"),
)
"""Of each kind of page one: all of them at every width would take minutes."""
OVER = """Math.max(0, ...Array.from(
    document.querySelectorAll(".results, .cybs-scroll:has(.cybs-tight)"),
    box => box.scrollWidth - box.clientWidth))"""
STRAY = """document.querySelectorAll("li:not(:is(ul, ol, menu) > li)").length"""
SCREENS = ("_change", "_import", "_activate", "_dashboard", "_readiness", "_password", "_export")
"""Pages whose title a theme that shows none must find in the page."""
LIFTS = "staffscope_delete"  # leads to the screen that does it


def pages(stage: Stage) -> dict[str, str]:
    """Those that answer: of Django's own, nothing is added or deleted here."""
    return {
        name: place
        for name, place in stage.places.items()
        if ":" not in name and (not name.endswith(REFUSED) or name == LIFTS)
    }


@pytest.mark.parametrize(
    ("scheme", "rules"),
    [("light", []), pytest.param("dark", ["color-contrast"], marks=pytest.mark.long)],
)
def test_axe_finds_nothing(stage: Stage, somebody: Somebody, scheme: str, rules: list[str]) -> None:
    """Every rule on light pages; on dark ones those about colours, which alone differ."""
    from tests.browser.accessibility import violations

    found: dict[str, Any] = {}
    # axe-core itself writes styles into the page, which the policy of these pages forbids.
    with somebody("root", color_scheme=scheme, bypass_csp=True) as root:
        root.prove()
        for name, place in pages(stage).items():
            root.go(place)
            if broken := violations(root.page, of=rules):
                found[name] = broken
    assert found == {}


@pytest.mark.parametrize(
    ("scheme", "rules", "kinds"),
    [
        ("light", [], KINDS),
        pytest.param("dark", ["color-contrast"], KINDS[::2], marks=pytest.mark.long),
    ],
)
def test_axe_finds_nothing_on_a_telephone_or_a_wide_screen(
    stage: Stage, somebody: Somebody, scheme: str, rules: list[str], kinds: tuple[str, ...]
) -> None:
    from tests.browser.accessibility import violations

    found: dict[str, Any] = {}
    with somebody("root", color_scheme=scheme, bypass_csp=True) as root:
        root.prove()
        for name in kinds:
            root.go(stage.places[name])
            for width in (400, 1600):
                root.page.set_viewport_size({"width": width, "height": 900})
                if broken := violations(root.page, of=rules):
                    found[f"{name} at {width}"] = broken
    assert found == {}


def test_no_list_is_wider_than_its_box(stage: Stage, somebody: Somebody) -> None:
    """Beside Django's own columns of links, from a small laptop's screen on."""
    wide = []
    with somebody("root") as root:
        for name, place in pages(stage).items():
            if not name.endswith(("_changelist", "_dashboard", "_readiness")):
                continue
            root.go(place)
            for width in (1100, 1280, 1499, 1600):
                root.page.set_viewport_size({"width": width, "height": 900})
                if over := root.page.evaluate(OVER):
                    wide.append(f"{name} at {width}: {over}")
    assert wide == []


def test_no_page_scrolls_sideways_on_a_telephone_or_a_wide_screen(
    stage: Stage, somebody: Somebody
) -> None:
    wide = []
    with somebody("root") as root:
        root.prove()
        for name, place in pages(stage).items():
            root.go(place)
            for width in (400, 1600):
                root.page.set_viewport_size({"width": width, "height": 900})
                if not root.fits():
                    wide.append(f"{name} at {width}")
    assert wide == []


@pytest.mark.parametrize("site", ["elsewhere", "unfolded"])
def test_every_page_answers_in_other_host_projects_with_its_title_and_whole_lists(
    stage: Stage, somebody: Somebody, site: str
) -> None:
    with somebody("root", site=site) as root:
        root.prove()
        for name, place in pages(stage).items():
            root.go(place)
            assert root.page.evaluate(STRAY) == 0, name
            if site == "unfolded" and name.endswith(SCREENS):
                assert root.page.locator(".cybs-title").is_visible(), name
