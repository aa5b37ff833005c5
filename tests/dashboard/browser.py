"""A real browser on the dashboard: Debian's Chromium, driven by Playwright."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from playwright.sync_api import Browser, ConsoleMessage, Page, expect, sync_playwright

CHROMIUM = "/usr/bin/chromium"
# A test waits for what it expects; a page that is right shows it within a second or two, a start of a model included.
TIMEOUT_MS = 15_000
SIZES = {400: 860, 1280: 800, 1920: 1080}


@contextmanager
def chromium() -> Iterator[Browser]:
    """A browser without a window. Its sandbox needs privileges that continuous integration does not give."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        try:
            yield browser
        finally:
            browser.close()


class Dashboard:
    """The page in a window of its own, with all that it has complained of."""

    def __init__(self, page: Page, url: str) -> None:
        self.page = page
        self.url = url
        self.complaints: list[str] = []
        page.set_default_timeout(TIMEOUT_MS)
        # Which has a default of its own.
        expect.set_options(timeout=TIMEOUT_MS)
        page.on("console", self._heard)
        page.on("pageerror", lambda error: self.complaints.append(f"uncaught: {error}"))
        page.on("request", self._asked)
        page.add_init_script(
            "addEventListener('securitypolicyviolation',"
            " (event) => console.error(`policy: ${event.violatedDirective} ${event.blockedURI}`))"
        )

    def _heard(self, message: ConsoleMessage) -> None:
        # Chromium tells of each 4xx and 5xx here; whether those are right is what the tests are about.
        if message.type in ("error", "warning") and "Failed to load resource" not in message.text:
            self.complaints.append(message.text)

    def _asked(self, request: Any) -> None:
        if not request.url.startswith((f"{self.url}/", "data:")):
            self.complaints.append(f"asked elsewhere: {request.url}")

    def open(self, key: str | None = None) -> Dashboard:
        """Load the page; with a key, as if it had been typed in before."""
        if key is not None:
            self.page.add_init_script(f"sessionStorage.setItem('raymux.key', '{key}')")
        self.page.goto(f"{self.url}/dashboard")
        return self

    def row(self, model: str) -> Any:
        """The row of a model in the table."""
        return self.page.locator(f'.model-row[data-key="model {model}"]')

    def choose(self, ordinal: str, model: str) -> None:
        """Choose a model of the playground, `First` or `Second`."""
        self.page.get_by_label(f"{ordinal} model", exact=True).select_option(model)

    def say(self, text: str) -> None:
        """Send a message to whoever is chosen."""
        self.page.get_by_label("Message").fill(text)
        self.page.get_by_role("button", name="Send").click()

    @property
    def overflow_px(self) -> int:
        """By how much the page is wider than its window."""
        return self.page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")


@contextmanager
def window(browser: Browser, url: str, width: int = 1280, **options: Any) -> Iterator[Dashboard]:
    """A window that shares nothing with others."""
    context = browser.new_context(viewport={"width": width, "height": SIZES.get(width, 800)}, **options)
    try:
        yield Dashboard(context.new_page(), url)
    finally:
        context.close()
