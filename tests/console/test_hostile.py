"""Events, providers and people that put script wherever they can: it stays text."""

from __future__ import annotations

import msgspec
import pytest
from playwright.async_api import expect

from gateway.demo.receivers import Refuse, Respond, WebhookReceiver, always
from tests.acceptance.audit_events import event
from tests.console.tab import Tab
from tests.console.tenants import Tenant

pytestmark = pytest.mark.asyncio(loop_scope="session")

IMAGE = "<img src=x onerror=alert(1)>"
SCRIPT = "</script><script>alert(2)</script>"
LINK = "javascript:alert(3)"
# What the page itself never makes: each would be there only through one of the strings.
FOREIGN = "main img, main script, main iframe, main style, main [onerror], main [style], a[href^='javascript'], base"


def hostile_event(tenant: str, name: str) -> bytes:
    """Script in every member that is shown."""
    members = msgspec.json.decode(event(tenant_id=tenant, name=f"{name}{IMAGE}"))
    for member in ("actor_type", "actor_id", "action", "resource_type", "resource_id", "service", "outcome"):
        members[member] = f"{IMAGE}{SCRIPT}"
    members["metadata"] = {IMAGE: SCRIPT, "link": LINK}
    return msgspec.json.encode(members)


async def see_nothing_foreign(console: Tab, shown: str) -> None:
    """The string is on the screen as text, and nothing was made of it."""
    await expect(console.page.get_by_role("main")).to_contain_text(shown)
    await expect(console.page.locator(FOREIGN)).to_have_count(0)


async def test_a_providers_answer_is_text(console: Tab, tenant: Tenant) -> None:
    """In the overview, the deliveries, the list, and the result of a test."""
    answer = Respond(503, f"sorry {IMAGE}{SCRIPT}".encode(), {"Content-Type": "text/plain"})
    async with WebhookReceiver(format="ndjson", script=always(answer)) as hook:
        made = await tenant.api.create(hook, name=IMAGE)
        await tenant.api.accept([hostile_event(tenant.name, "evt_1")])
        await tenant.api.until_degraded(made)
        await console.sign_in(tenant.key)
        await see_nothing_foreign(console, IMAGE)
        for tab in ("", "/deliveries"):
            await console.open(f"/{made}{tab}")
            await see_nothing_foreign(console, SCRIPT)
        await console.open(f"/{made}/settings")
        await console.button("Test").click()
        await expect(console.page.get_by_role("region", name="Test result")).to_contain_text(SCRIPT)
        await see_nothing_foreign(console, IMAGE)
        await console.picture("hostile-test")


async def test_an_event_is_text(console: Tab, tenant: Tenant) -> None:
    """As a dead letter with every member unfolded, and in the preview of a filter."""
    async with WebhookReceiver(format="ndjson", script=always(Refuse(lambda line: IMAGE.encode() in line))) as hook:
        made = await tenant.api.create(hook, name="Refusing")
        await tenant.api.accept([event(tenant_id=tenant.name), hostile_event(tenant.name, "evt_2")])
        await tenant.api.until(made, lambda shown: shown["health"]["dead_lettered_events"] == 1)
        await console.sign_in(tenant.key, f"/{made}/undelivered")
        await console.page.locator(".letters summary").click()
        await expect(console.page.locator(".letters pre")).to_contain_text(LINK)
        await see_nothing_foreign(console, SCRIPT)
        await console.picture("hostile-event")
        await console.open("/new/webhook")
        await console.page.get_by_text("Filter", exact=True).click()
        await console.page.get_by_text("Newest of them").click()
        await see_nothing_foreign(console, f"{IMAGE}{SCRIPT}")


async def test_names_options_and_filters_are_text(console: Tab, tenant: Tenant) -> None:
    """What one person writes into a destination cannot run with another one's key."""
    async with WebhookReceiver(format="ndjson") as hook:
        made = await tenant.api.create(
            hook, name=IMAGE, options={"headers": {"X-Note": SCRIPT}}, filter={"actions": [IMAGE], "services": [LINK]}
        )
        await tenant.api.change(made, filter={"actions": [SCRIPT]}, name=f"{SCRIPT} {LINK}")
        for key in (tenant.key, tenant.reader):
            await console.sign_in(key)
            for path, shown in (
                ("", LINK),
                (f"/{made}", LINK),
                (f"/{made}/settings", LINK),
                (f"/{made}/activity", IMAGE),
            ):
                await console.open(path)
                await see_nothing_foreign(console, shown)
            await console.page.get_by_role("navigation", name="Console").get_by_role("link", name="Activity").click()
            await see_nothing_foreign(console, SCRIPT)
            await console.button("Sign out").click()


async def test_the_policy_lets_nothing_in_from_elsewhere(console: Tab) -> None:
    """Should a string become markup one day, the policy is there: inline script and foreign addresses are refused."""
    answer = await console.page.goto(f"{console.address}/console/")
    assert answer is not None
    policy = answer.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["referrer-policy"] == "no-referrer"
    await console.page.evaluate(
        """() => {
            document.body.insertAdjacentHTML("beforeend", "<img src=x onerror='window.ran = true'>");
            const script = document.createElement("script");
            script.textContent = "window.ran = true";
            document.body.append(script);
        }"""
    )
    await console.page.wait_for_function("window.violations.length >= 2")
    assert await console.page.evaluate("window.ran") is None
    await console.page.evaluate("window.violations = []")
    console.faults.clear()
