"""What one gets to only by doing something, and that nothing is missing among the pictures."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.browser.staging import Stage

if TYPE_CHECKING:
    from tests.browser.conftest import Somebody


def test_every_screen_has_a_picture_or_is_named_with_the_reason_why_not(stage: Stage) -> None:
    from tests.browser import screenshots

    shown = set(screenshots.PAGES.values())
    screens = {name for name in stage.places if ":" not in name}
    left = {name for name in screens - shown if not name.endswith(tuple(screenshots.NO_PICTURE))}
    assert left == set()
    assert shown <= stage.places.keys()


def test_every_picture_is_stored_and_no_other() -> None:
    from tests.browser import screenshots

    stored = {path.stem for path in screenshots.FOLDER.glob("*.png")}
    assert stored == {*screenshots.PAGES, *screenshots.STEPS, *screenshots.BESIDE}


def test_axe_finds_nothing_in_any_state_that_has_a_picture(
    stage: Stage, somebody: Somebody
) -> None:
    """Previews, forms with errors, pages of bulk actions, and what the gateway refused."""
    from tests.browser import screenshots
    from tests.browser.accessibility import violations

    found = {}
    with somebody("root", bypass_csp=True) as root:
        root.prove()
        for name, step in screenshots.STEPS.items():
            step(root, stage)
            if broken := violations(root.page):
                found[name] = broken
    assert found == {}


def test_axe_finds_nothing_where_a_second_person_is_needed(
    stage: Stage, somebody: Somebody
) -> None:
    from tests.browser import screenshots
    from tests.browser.accessibility import violations

    with somebody("root", site="elsewhere", bypass_csp=True) as root:
        root.prove()
        screenshots.second_person(root, stage)
        assert "second person" in root.told()
        assert violations(root.page) == []
