"""What operators do, from the first page to the last, against the simulator."""

from __future__ import annotations

from typing import TYPE_CHECKING

from django_cybs_jwt.testing import material
from tests.browser.staging import PASSWORD, Stage

if TYPE_CHECKING:
    from tests.browser.conftest import Somebody
    from tests.browser.visiting import Visitor

KEYS = "cybs_jwt/credential/"


def upload(visitor: Visitor, data: bytes, password: str) -> None:
    visitor.choose_file(data)
    visitor.page.fill("#id_password", password)
    visitor.click("Upload")


def activate(visitor: Visitor) -> None:
    visitor.click("Activate", role="link")
    confirm(visitor)


def confirm(visitor: Visitor) -> None:
    """On the page that activates, or on the one that asks for the password before it."""
    if "/password/" in visitor.page.url:
        visitor.type_password()
    visitor.click("Yes, activate it")


def test_import(somebody: Somebody) -> None:
    """The wrong file is named; the right one is shown, then verified, then activated."""
    file = material.p12("newcomer")
    with somebody("olga") as olga:
        olga.go(f"{KEYS}import/?organization=newcomer")
        upload(olga, b"no key at all", file.password)
        assert "Nothing was stored" in olga.told()
        upload(olga, file.data, "not the password")
        assert "password" in olga.told()
        upload(olga, file.data, file.password)
        page = olga.page
        assert "Stored as staged" in olga.told()
        assert page.get_by_text(file.kid).first.is_visible()
        assert page.get_by_text("Sealed, and not used for anything yet.").is_visible()
        assert file.password not in page.content()
        olga.click("Yes, verify it and go on")
        confirm(olga)
        assert page.get_by_text("It is in use.").is_visible()


def test_from_a_key_that_ends_to_its_successor_in_eight_clicks(somebody: Somebody) -> None:
    """From the front page on, the row, the file's dialog and the password included."""
    file = material.p12("hurry")
    with somebody("olga") as olga:
        page = olga.go("cybs_jwt/")
        olga.count_clicks()
        with page.expect_navigation():
            page.get_by_role("link", name="end within 7 days").first.click()
        row = page.locator("#result_list tbody tr", has_text="hurry@")
        with page.expect_navigation():
            row.get_by_role("link", name="Replace").click()
        upload(olga, file.data, file.password)
        olga.click("Yes, verify it and go on")
        assert "/password/" in page.url
        confirm(olga)
        assert olga.clicks() == 8
        assert page.get_by_text("The last rotation").is_visible()
        assert page.get_by_text("Accepted").first.is_visible()


def test_rotate_and_roll_back_under_traffic(stage: Stage, somebody: Somebody) -> None:
    """Not one payment fails, and each key signs its share."""
    file = material.p12("rotating")
    with somebody("olga") as olga, stage.paying("rotating") as paid:
        olga.go(stage.places["key:rotating"])
        before = paid.key()
        olga.click("Replace this key", role="link")
        upload(olga, file.data, file.password)
        olga.click("Yes, verify it and go on")
        confirm(olga)
        assert olga.page.get_by_text("The last rotation").is_visible()
        paid.until_signed_by(file.kid)
        olga.click("Roll back", role="link")
        olga.page.fill("#id_reason", "the acquirer asks for it")
        olga.click("Yes, roll back")
        assert "is active again" in olga.told()
        paid.until_signed_by(before)
    assert paid.failed == []
    assert set(paid.sent) == {before, file.kid}


def test_from_the_front_page_to_an_acknowledged_alert(somebody: Somebody) -> None:
    with somebody("olga") as olga:
        page = olga.go("cybs_jwt/")
        page.get_by_role("link", name="alerts to acknowledge").click()
        page.fill("#searchbar", "ending")
        with page.expect_navigation():
            page.press("#searchbar", "Enter")
        page.locator("#result_list tbody th a").first.click()
        olga.click("Acknowledge", role="link")
        page.fill("#id_reason", "ordered for Monday")
        olga.click("Acknowledge")
        assert "Acknowledged." in olga.told()
        assert (
            page.get_by_text("ordered for Monday").or_(page.get_by_text("olga")).first.is_visible()
        )


def test_choosing_whom_a_meta_key_covers(stage: Stage, somebody: Somebody) -> None:
    """What would change is shown before it does."""
    with somebody("olga") as olga:
        page = olga.go(stage.places["slot:group"])
        olga.click("Choose whom it covers", role="link")
        olga.type_password()
        page.fill("#id_merchants", "north, south")
        olga.click("Show what would change")
        assert page.get_by_text("2 merchants added").is_visible()
        olga.click("Yes, save it")
        assert "Saved: 2 merchants added" in olga.told()


def test_a_second_person_approves(stage: Stage, somebody: Somebody) -> None:
    """Where two are needed nobody does it alone, and the second sees what waits."""
    site = "elsewhere"
    with somebody("olga", site=site) as olga, somebody("paul", site=site) as paul:
        olga.go(stage.places["key:guarded"])
        activate(olga)
        assert "second person" in olga.told()
        paul.go("cybs_jwt/approval/?waiting=me&q=guarded")
        paul.page.locator("#result_list tbody th a").first.click()
        paul.click("Approve", role="link")
        paul.type_password()
        paul.page.fill("#id_reason", "seen")
        paul.click("Yes, approve")
        assert "Approved" in paul.told()
        olga.go(stage.places["key:guarded"])
        activate(olga)
        assert olga.page.get_by_text("It is in use.").is_visible()


def test_who_may_not(stage: Stage, somebody: Somebody) -> None:
    """No link, no page; what is out of scope is not there at all."""
    with somebody("vera") as vera:
        page = vera.go(stage.places["key:shoes"])
        assert page.get_by_role("link", name="Roll back").count() == 0
        vera.go(f"{KEYS}import/", expect=403)
        vera.go(stage.places["key:shoes"].replace("change/", "suspend/"), expect=403)
    with somebody("lima") as lima:
        lima.go(stage.places["key:mall"])
        lima.go(stage.places["key:shoes"], expect=404)
        assert lima.go(KEYS).get_by_text("shoes").count() == 0
    with somebody("nina") as nina:
        nina.go(KEYS, expect=403)


def test_a_journey_by_keyboard_alone(stage: Stage, somebody: Somebody) -> None:
    """Verify a key: every stop is reached with Tab and taken with Enter."""
    with somebody("olga") as olga:
        page = olga.go(stage.places["key:pair"])
        olga.tab_to("Verify with the gateway")
        page.keyboard.press("Enter")
        page.wait_for_url("**/verify/")
        olga.tab_to("Verify", role="button")
        page.keyboard.press("Enter")
        page.wait_for_url("**/change/")
        assert "Accepted" in olga.told()
        assert PASSWORD not in page.content()
