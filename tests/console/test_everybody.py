"""For those who use no mouse, no colour, another language, a small screen, or somebody else's provider."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, Literal

import pytest
from axe_playwright_python.async_playwright import Axe
from playwright.async_api import Route, expect

from gateway.demo.receivers import Refuse, Respond, SplunkReceiver, WebhookReceiver, always
from tests.acceptance.audit_events import events
from tests.console.tab import OpenTab, Tab
from tests.console.tenants import Tenant

pytestmark = pytest.mark.asyncio(loop_scope="session")

FILES = Path(__file__).parents[2] / "gateway" / "server" / "console"
WEIGHT_MAX = 150_000
INTERACTIVE_MS_MAX = 1000
LOADS = 6


async def test_the_keyboard_alone_suffices(console: Tab, tenant: Tenant) -> None:
    """From the sign-in to a stored destination and its switch, with Tab, Enter, Space and Escape."""
    keyboard = console.page.keyboard
    async with SplunkReceiver() as splunk:
        await console.open()
        await expect(console.page.get_by_label("API key")).to_be_focused()
        await keyboard.type(tenant.key)
        await keyboard.press("Enter")
        await expect(console.heading).to_have_text("SIEM destinations")
        await console.press_until("Add destination")
        await keyboard.press("Enter")
        await expect(console.heading).to_be_focused()
        await expect(console.heading).to_have_text("Add destination")
        await console.press_until("SP\nSplunk")
        await keyboard.press("Enter")
        await expect(console.heading).to_have_text("Add Splunk")
        await console.press_until("Name")
        await keyboard.type("By hand")
        await console.press_until("Endpoint URL (required)")
        await keyboard.type(splunk.endpoint)
        await console.press_until("HEC token (required)")
        await keyboard.type(splunk.credentials["token"])
        await console.press_until("Enabled")
        await keyboard.press("Space")
        await expect(console.page.get_by_role("switch", name="Enabled")).not_to_be_checked()
        await console.press_until("Advanced options")
        await keyboard.press("Enter")
        await console.press_until("Index")
        await keyboard.type("main")
        await console.press_until("Enabled", "Shift+Tab")
        await keyboard.press("Space")
        await console.press_until("Test")
        await keyboard.press("Enter")
        await expect(console.page.get_by_role("region", name="Test result")).to_contain_text("arrived")
        await console.press_until("Save", "Shift+Tab")
        await keyboard.press("Enter")
        await expect(console.heading).to_have_text("By hand")
        await expect(console.heading).to_be_focused()
        found = (await tenant.api.expect(200, "GET", "/v1/audit/siem"))["data"]
        assert [(each["enabled"], each["options"]["index"]) for each in found] == [(True, "main")]
        await console.press_until("Deliveries")
        await keyboard.press("Enter")
        await expect(console.page).to_have_title(re.compile("^By hand: Deliveries"))
        await expect(console.link("Deliveries")).to_be_focused()
        await console.press_until("Enabled: By hand", "Shift+Tab")
        await keyboard.press("Space")
        await expect(console.page.get_by_role("dialog")).to_be_visible()
        await keyboard.press("Escape")
        await expect(console.page.get_by_role("switch", name="Enabled: By hand")).to_be_focused()
        await expect(console.badge).to_have_text("Active")


async def screens(tenant: Tenant, hook: WebhookReceiver) -> dict[str, str]:
    """The address of every screen, with something in each: a delivery, a failure, a dead letter and a gap."""
    made = await tenant.api.create(
        hook, name="Every screen", options={"format": "ndjson", "headers": {"X-Team": "blue"}}
    )
    await tenant.api.accept(events(1, tenant_id=tenant.name))
    await tenant.api.until_settled(made)
    hook.script = always(Refuse(lambda event: b'"poison"' in event))
    await tenant.api.accept([*events(1, tenant_id=tenant.name, action="poison"), *events(1, tenant_id=tenant.name)])
    await tenant.api.until(made, lambda shown: shown["health"]["dead_lettered_events"] == 1)
    await tenant.api.change(made, enabled=False)
    await tenant.api.accept(events(1, tenant_id=tenant.name))
    assert len(await tenant.api.listed(made, "gaps")) == 1
    await tenant.api.change(made, enabled=True)
    hook.script = always(Respond(503, b"down for maintenance", {"Retry-After": "300"}))
    await tenant.api.accept(events(1, tenant_id=tenant.name))
    await tenant.api.until_degraded(made)
    return {
        "list": "",
        "tiles": "/new",
        "form": "/new/splunk",
        "overview": f"/{made}",
        "deliveries": f"/{made}/deliveries",
        "undelivered": f"/{made}/undelivered",
        "settings": f"/{made}/settings",
        "activity": f"/{made}/activity",
    }


async def unfold(tab: Tab, name: str) -> None:
    """What is folded is unfolded, the form is filled and tested, and the last question of all is asked."""
    await expect(tab.heading).to_be_visible()
    waited = {
        "list": ".sparkline",
        "overview": ".plot svg",
        "deliveries": "tbody tr",
        "undelivered": ".letters li",
        "activity": ".activity li",
    }
    if name in waited:
        await expect(tab.page.locator(waited[name]).first).to_be_visible()
    for fold in await tab.page.locator("summary").all():
        await fold.click()
    if name == "settings":
        await tab.button("Test").click()
        await expect(tab.page.get_by_role("region", name="Test result")).to_be_visible()
    if name == "form":
        await tab.button("Save").click()
        await expect(tab.page.locator(".faults")).to_be_visible()


async def violations(tab: Tab) -> list[str]:
    """What axe-core finds."""
    answer: dict[str, Any] = (await Axe().run(tab.page)).response
    return [f"{each['id']}: {node['html'][:200]}" for each in answer["violations"] for node in each["nodes"]]


@pytest.mark.parametrize(("width", "scheme"), [(1280, "light"), (360, "dark")])
async def test_every_screen_suits_everybody(
    open_console: OpenTab, tenant: Tenant, width: int, scheme: Literal["light", "dark"]
) -> None:
    """axe-core finds nothing, light or dark, and nothing has to be scrolled sideways, however small the screen."""
    tab = await open_console(width=width, height=800)
    await tab.page.emulate_media(color_scheme=scheme)
    async with WebhookReceiver(format="ndjson") as hook:
        await tab.open()
        await expect(tab.heading).to_be_visible()
        found = {"sign-in": await violations(tab)}
        await tab.sign_in(tenant.key)
        await expect(tab.page.locator(".tile").first).to_be_visible()
        found["empty"] = await violations(tab)
        addresses = await screens(tenant, hook)
        for name, path in addresses.items():
            await tab.open(path)
            await unfold(tab, name)
            found[name] = await violations(tab)
            assert await tab.page.evaluate("document.documentElement.scrollWidth") <= width, name
            await tab.picture(f"{name}-{scheme}-{width}")
        await tab.open(addresses["settings"])
        await tab.button("Delete destination").click()
        await expect(tab.page.get_by_role("dialog")).to_be_visible()
        found["dialog"] = await violations(tab)
        assert {name: each for name, each in found.items() if each} == {}


@pytest.mark.parametrize(
    ("locale", "thousand", "moment"),
    [
        ("de-DE", "1.234", r"\d{2}\.\d{2}\.\d{4}, \d{2}:\d{2}:\d{2}"),
        ("en-US", "1,234", r"[A-Z][a-z]{2} \d{1,2}, \d{4}, \d{1,2}:\d{2}:\d{2}\s[AP]M"),
    ],
)
async def test_numbers_and_dates_have_the_forms_of_the_browsers_locale(
    open_console: OpenTab, tenant: Tenant, locale: str, thousand: str, moment: str
) -> None:
    """Times are local, and UTC in the tooltip."""
    tab = await open_console(locale=locale)
    async with WebhookReceiver(format="ndjson", script=always(Respond(503, headers={"Retry-After": "300"}))) as hook:
        made = await tenant.api.create(hook, name="Counted")
        await tenant.api.accept(events(1234, tenant_id=tenant.name))
        await tab.sign_in(tenant.key)
        await expect(tab.rows.locator(".cell-pending")).to_contain_text(thousand)
        await tab.open(f"/{made}/deliveries")
        first = tab.page.locator("tbody time").first
        await expect(first).to_have_text(re.compile(f"^{moment}$"))
        await expect(first).to_have_attribute("title", re.compile(r"^\d{4}-\d\d-\d\d \d\d:\d\d:\d\d UTC$"))
        shown, utc = await first.inner_text(), str(await first.get_attribute("title"))
        assert shown.split(":")[1:2] == utc.split(":")[1:2]  # Berlin is whole hours away
        assert shown.split(", ")[-1].split(":")[0].zfill(2) != utc[11:13]
        await tab.picture(f"deliveries-{locale}")


async def test_a_provider_of_tomorrow_has_its_form(console: Tab, tenant: Tenant) -> None:
    """The form comes from the description alone: a provider unknown to the page, with a field of each type."""
    described = {
        "name": "tomorrow",
        "label": "Tomorrow SIEM",
        "example_endpoint": "https://tomorrow.example.com",
        "endpoint_help": "Where it is.",
        "credentials_help": "Ask them.",
        "fields": [
            {
                "name": "passphrase",
                "label": "Passphrase",
                "where": "credential",
                "type": "string",
                "required": True,
                "secret": True,
            },
            {
                "name": "code",
                "label": "Code",
                "where": "option",
                "type": "string",
                "pattern": "^[a-z]+$",
                "help": "Small letters.",
            },
            {"name": "level", "label": "Level", "where": "option", "type": "integer", "default": 3},
            {"name": "fast", "label": "Fast", "where": "option", "type": "boolean", "default": True},
            {
                "name": "mode",
                "label": "Mode",
                "where": "option",
                "type": "enum",
                "choices": ["one", "two"],
                "default": "one",
            },
            {"name": "tags", "label": "Tags", "where": "option", "type": "array"},
            {"name": "extra", "label": "Extra", "where": "option", "type": "object"},
        ],
    }

    async def answer(route: Route) -> None:
        await route.fulfill(json={"data": [described], "next_cursor": None})

    await console.page.route("**/v1/audit/siem/providers", answer)
    await console.sign_in(tenant.key, "/new")
    await console.page.locator("a.tile", has_text="Tomorrow SIEM").click()
    await console.field("Endpoint URL").fill("https://tomorrow.example.com")
    await console.page.get_by_label("Passphrase (required)").fill("open sesame")
    await console.page.get_by_text("Advanced options").click()
    await console.page.get_by_label("Code").fill("ABC")
    await console.button("Save").click()
    await expect(console.page.get_by_label("Code")).to_have_accessible_description(re.compile("right form"))
    await console.page.get_by_label("Code").fill("abc")
    await expect(console.page.get_by_label("Level")).to_have_attribute("placeholder", "3")
    await console.page.get_by_label("Level").fill("5")
    await console.page.get_by_label("Fast").uncheck()
    await console.page.get_by_label("Mode").select_option("two")
    await console.page.get_by_label("Tags").fill("a, b")
    await console.page.get_by_label("Extra").fill("X-One: 1\nX-Two: a: b")
    async with console.page.expect_request(
        lambda request: request.method == "POST" and request.url.endswith("/siem")
    ) as post:
        await console.button("Save").click()
    content = (await post.value).post_data_json
    assert content is not None
    assert (content["provider"], content["passphrase"]) == ("tomorrow", "open sesame")
    assert content["options"] == {
        "code": "abc",
        "level": 5,
        "fast": False,
        "mode": "two",
        "tags": ["a", "b"],
        "extra": {"X-One": "1", "X-Two": "a: b"},
    }
    await expect(console.page.locator(".faults")).to_be_visible()


async def test_the_page_is_light(console: Tab) -> None:
    """All files together, as they are; and the sign-in can be used within a second of the request, on loopback."""
    assert sum(file.stat().st_size for file in FILES.rglob("*") if file.is_file()) < WEIGHT_MAX
    loads = []
    for _ in range(LOADS):  # the quickest counts: the others tell of what else the machine does
        await console.open()
        await expect(console.page.get_by_label("API key")).to_be_focused()
        loads.append(await console.page.evaluate("window.usableMs"))
    assert min(loads) < INTERACTIVE_MS_MAX
