"""One tab of a browser on the console, and what it must never do whatever a test makes of it."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable
from pathlib import Path
from urllib.parse import urlsplit

from playwright.async_api import Browser, ConsoleMessage, Locator, Page, Request, ViewportSize, expect

LIST = "/console/settings/audit/siem"
PICTURES = Path(__file__).parents[2] / "build" / "console"  # git ignores it

_WATCH = """
    window.violations = [];
    addEventListener("focusin", () => { window.usableMs ??= performance.now(); });
    document.addEventListener("securitypolicyviolation", (event) => window.violations.push(
        `${event.violatedDirective} ${event.blockedURI} ${event.sample}`));
"""
TABS_MAX = 60


class Tab:
    """Use ``page`` for everything that a person does. ``faults`` is empty as long as the page behaves."""

    def __init__(self, page: Page, address: str) -> None:
        self.page = page
        self.address = address
        self.faults: list[str] = []
        self.key = ""
        page.on("pageerror", lambda error: self.faults.append(f"an error: {error}"))
        page.on("dialog", lambda dialog: self.faults.append(f"a dialog: {dialog.message}"))
        page.on("console", self._hear)
        page.on("request", self._watch)

    def _hear(self, message: ConsoleMessage) -> None:
        # Chromium writes a line for each answer over 399 and for each refused connection; tests cause both.
        if message.type == "error" and not message.text.startswith("Failed to load resource"):
            self.faults.append(f"on the console: {message.text}")

    def _watch(self, request: Request) -> None:
        own = urlsplit(self.address).netloc
        parts = urlsplit(request.url)
        if parts.scheme not in {"blob", "data"} and parts.netloc != own:
            self.faults.append(f"a request to another server: {request.url}")
        if self.key and self.key in request.url:
            self.faults.append(f"the key stands in an address: {request.url}")

    async def check(self) -> None:
        """Nothing ran that should not, no policy was violated, and the key is not in the address."""
        self.faults += [f"a violation: {each}" for each in await self.page.evaluate("window.violations ?? []")]
        if self.key and self.key in self.page.url:
            self.faults.append("the key stands in the page's address")
        assert self.faults == []

    # -- what a person does

    async def open(self, path: str = "") -> None:
        await self.page.goto(f"{self.address}{LIST}{path}")

    async def sign_in(self, key: str, path: str = "") -> None:
        """At the sign-in screen of this address."""
        self.key = key
        await self.open(path)
        await self.page.get_by_label("API key").fill(key)
        await self.button("Sign in").click()
        await expect(self.page.get_by_role("heading", level=1)).not_to_have_text("Sign in")

    def button(self, name: str) -> Locator:
        return self.page.get_by_role("button", name=name, exact=True)

    def link(self, name: str) -> Locator:
        return self.page.get_by_role("main").get_by_role("link", name=name, exact=True)

    def field(self, label: str) -> Locator:
        """The one whose label begins so: "Name" is not "Server name"."""
        return self.page.get_by_role("main").get_by_label(re.compile(f"^{re.escape(label)}"))

    @property
    def heading(self) -> Locator:
        return self.page.get_by_role("heading", level=1)

    @property
    def rows(self) -> Locator:
        """Of the list of destinations."""
        return self.page.locator(".rows > li")

    @property
    def badge(self) -> Locator:
        """The state in the heading of a destination."""
        return self.page.locator(".title-line .status")

    @property
    def state(self) -> Locator:
        """The sentence about a destination, and what comes next."""
        return self.page.get_by_role("region", name="State")

    def figure(self, name: str) -> Locator:
        """A figure with this name beside it."""
        return self.page.locator(".fact").filter(has=self.page.get_by_text(name, exact=True)).locator("dd")

    async def press_until(self, name: str, key: str = "Tab") -> None:
        """Press the key until the element with this accessible name has the focus."""
        for _ in range(TABS_MAX):
            await self.page.keyboard.press(key)
            if await self.focused() == name:
                return
        raise AssertionError(f"{name!r} was not reached with {key}; the focus is on {await self.focused()!r}")

    async def focused(self) -> str:
        return str(
            await self.page.evaluate(
                """() => {
                    const element = document.activeElement;
                    const labels = [...(element.labels ?? [])].map((label) => label.innerText);
                    return (element.getAttribute("aria-label") ?? labels[0] ?? element.innerText ?? "").trim();
                }"""
            )
        )

    async def picture(self, name: str) -> None:
        """For people to look at; nothing is compared with it."""
        PICTURES.mkdir(parents=True, exist_ok=True)
        await self.page.screenshot(path=PICTURES / f"{name}.png", full_page=True)


async def open_tab(
    browser: Browser, address: str, *, locale: str = "en-US", width: int = 1280, height: int = 900
) -> Tab:
    """With a browser context of its own; close it through ``tab.page.context``."""
    context = await browser.new_context(
        locale=locale, timezone_id="Europe/Berlin", viewport=ViewportSize(width=width, height=height)
    )
    await context.add_init_script(_WATCH)
    return Tab(await context.new_page(), address)


OpenTab = Callable[..., Awaitable[Tab]]
