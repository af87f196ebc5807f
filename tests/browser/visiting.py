"""Somebody in front of a browser: what goes wrong on the way is remembered."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import urljoin

from playwright.sync_api import Browser, ConsoleMessage, Page, Request, Response

from tests.browser.staging import PASSWORD

COUNT = """
addEventListener("click", event => {
    if (event.isTrusted) sessionStorage.clicks = 1 + (+sessionStorage.clicks || 0)
}, true)
"""


class Visitor:
    """One person with a browser window of his own, logged in through the form.

    `problems` holds every error of the console (a breach of the policy is one), every failed
    script and every answer of the server that was an error nobody asked for.
    """

    def __init__(self, browser: Browser, root: str, **options: Any) -> None:
        self.root = root
        self.context = browser.new_context(viewport={"width": 1280, "height": 900}, **options)
        self.page = self.context.new_page()
        self.problems: list[str] = []
        self._expected = 200
        self._chosen = 0
        # A form that Enter sends clicks its button: the browser says so itself.
        self.context.add_init_script(COUNT)
        self.page.on("console", self._console)
        self.page.on("pageerror", lambda error: self.problems.append(f"script: {error}"))
        self.page.on("requestfailed", self._failed)
        self.page.on("response", self._response)

    def login(self, name: str) -> Visitor:
        """Through the form, as anybody."""
        self.page.goto(self.root)
        self.page.fill("#id_username", name)
        self.page.fill("#id_password", PASSWORD)
        self.page.press("#id_password", "Enter")
        self.page.wait_for_url(self.root)
        return self

    def go(self, place: str, *, expect: int = 200) -> Page:
        """Open a page, by its path from the root of the site; the answer is as expected."""
        self._expected = expect
        answer = self.page.goto(urljoin(self.root, place))
        assert answer is not None
        assert answer.status == expect, f"{place}: {answer.status}"
        self._expected = 200
        return self.page

    def click(self, name: str, *, role: Any = "button") -> None:
        """A button or link that leads to a page, by the words on it; the page is there then."""
        with self.page.expect_navigation():
            self.page.get_by_role(role, name=name, exact=True).first.click()

    def count_clicks(self) -> None:
        """From now on."""
        self._chosen = 0
        self.page.evaluate("sessionStorage.clicks = 0")

    def clicks(self) -> int:
        """Since then, as the browser counted them, and one for each file chosen in its dialog."""
        return int(self.page.evaluate("+sessionStorage.clicks")) + self._chosen

    def choose_file(self, data: bytes) -> None:
        """Open the dialog and choose a file in it, which takes another click."""
        with self.page.expect_file_chooser() as opened:
            self.page.locator("#id_file").click()
        file: Any = {"name": "key.p12", "mimeType": "application/octet-stream", "buffer": data}
        opened.value.set_files(file)
        self._chosen += 1

    def told(self) -> str:
        """What the page tells on top."""
        said = self.page.locator(".messagelist li, .errornote, .errorlist li")
        return "\n".join(said.all_inner_texts())

    def type_password(self) -> None:
        """Where the page asks for it again."""
        self.page.fill("input[name=password]", PASSWORD)
        with self.page.expect_navigation():
            self.page.press("input[name=password]", "Enter")

    def prove(self) -> None:
        """Type the password ahead of pages that would ask for it."""
        self.go("cybs_jwt/credential/password/")
        self.type_password()

    def tab_to(self, name: str, *, role: Any = "link") -> None:
        """Move the focus there with the Tab key alone."""
        wanted = self.page.get_by_role(role, name=name, exact=True).first
        wanted.wait_for()
        for _ in range(200):
            self.page.keyboard.press("Tab")
            if wanted.evaluate("element => element === document.activeElement"):
                return
        raise AssertionError(f"{name} is not reached by keyboard.")

    def fits(self) -> bool:
        """True where the page itself need not be moved sideways."""
        return bool(
            self.page.evaluate(
                "document.scrollingElement.scrollWidth <= document.scrollingElement.clientWidth"
            )
        )

    def close(self) -> None:
        """Close the window; nothing may have gone wrong."""
        self.context.close()
        assert not self.problems, self.problems

    def _console(self, message: ConsoleMessage) -> None:
        if message.type == "error" and "Failed to load resource" not in message.text:
            self.problems.append(f"console: {message.text}")

    def _failed(self, request: Request) -> None:
        if request.failure != "net::ERR_ABORTED":  # a page that was left before it was whole
            self.problems.append(f"{request.url}: {request.failure}")

    def _response(self, response: Response) -> None:
        is_icon = response.url.endswith("/favicon.ico")
        if response.status >= 400 and response.status != self._expected and not is_icon:
            self.problems.append(f"{response.status}: {response.url}")


@contextmanager
def visitor(browser: Browser, root: str, name: str, **options: Any) -> Iterator[Visitor]:
    """Somebody who is logged in; leaving asserts that nothing went wrong."""
    made = Visitor(browser, root, **options).login(name)
    try:
        yield made
    except BaseException:
        made.context.close()
        raise
    made.close()
