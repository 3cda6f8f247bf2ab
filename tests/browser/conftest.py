"""A real browser, where this machine has one."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from playwright.sync_api import Browser, Page

    from tests.support.browser_page import OpenPage, Theme

LOCALE = "en-GB"
NAMES = ("chromium", "chromium-browser", "google-chrome")
QUIET = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    api = pytest.importorskip("playwright.sync_api", reason="needs the package playwright")
    path = next(filter(None, map(shutil.which, NAMES)), None)
    if path is None:
        pytest.skip(f"needs a browser: none of {', '.join(NAMES)} is installed")
    with api.sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=path, args=list(QUIET))
        yield started
        started.close()


@pytest.fixture(scope="session")
def shared_page(browser: Browser) -> Page:
    """One page for all tests that need no options: a page of its own costs a test a second."""
    return browser.new_page(locale=LOCALE)


@pytest.fixture
def open_page(browser: Browser, shared_page: Page, tmp_path: Path) -> Iterator[OpenPage]:
    """Open HTML from a file; at the end, no error was logged and no other request was made.

    It is in the shared page, with nothing left of the test before, unless `options` are given, or
    the test needs a page of its `own`.
    """
    complaints: list[str] = []
    requests: list[str] = []
    file = tmp_path / "page.html"
    listeners: dict[str, Callable[[Any], None]] = {
        "console": lambda message: complaints.append(message.text),
        "pageerror": lambda error: complaints.append(str(error)),
        "request": lambda request: requests.append(request.url),
    }
    opened: list[Page] = []

    def show(
        html: str, width: int = 1200, theme: Theme = "light", own: bool = False, **options: Any
    ) -> Page:
        file.write_text(html, encoding="utf-8")
        is_own = own or bool(options)
        page = browser.new_page(**{"locale": LOCALE, **options}) if is_own else shared_page
        page.set_viewport_size({"width": width, "height": 900})
        page.emulate_media(media="null", color_scheme=theme)
        if page not in opened:
            opened.append(page)
            for event, listen in listeners.items():
                page.on(event, listen)  # type: ignore[call-overload]
        page.goto(file.as_uri())
        return page

    yield show
    for page in opened:
        if page is shared_page:
            page.evaluate("localStorage.clear()")
            for event, listen in listeners.items():
                page.remove_listener(event, listen)
        else:
            page.context.close()
    assert complaints == []
    assert {url for url in requests if not url.startswith("data:")} == {file.as_uri()}
