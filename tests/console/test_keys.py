"""What a key may not do is not offered, and what it may not see is not there."""

from __future__ import annotations

import pytest
from playwright.async_api import expect

from gateway.demo.receivers import WebhookReceiver
from tests.acceptance.audit_events import events
from tests.acceptance.gateway_process import GatewayProcess
from tests.console.tab import OpenTab, Tab
from tests.console.tenants import Tenant, new_tenant

pytestmark = pytest.mark.asyncio(loop_scope="session")


async def test_a_key_that_may_only_look_has_nothing_to_press(console: Tab, tenant: Tenant) -> None:
    """No screen has a control that writes, and the addresses of forms lead to no form."""
    async with WebhookReceiver(format="ndjson") as hook:
        made = await tenant.api.create(
            hook, name="Looked at", options={"format": "ndjson", "headers": {"X-Team": "blue"}}
        )
        await tenant.api.accept(events(2, tenant_id=tenant.name))
        await console.sign_in(tenant.reader)
        await expect(console.rows).to_have_count(1)
        main = console.page.get_by_role("main")
        for screen in ("Overview", "Deliveries", "Undelivered", "Settings", "Activity"):
            if screen == "Overview":
                await console.link("Looked at").click()
            else:
                await console.link(screen).click()
            await expect(console.page).to_have_title(f"Looked at: {screen} · SIEM · Audit event gateway")
            for role in ("switch", "textbox", "checkbox"):
                assert await main.get_by_role(role).count() == 0, (screen, role)
            names = set(await main.get_by_role("button").all_inner_texts())
            assert names <= {"1 hour", "24 hours", "7 days"}, screen
        await console.link("Settings").click()
        await expect(main).to_contain_text("This key may look, not change.")
        await expect(main).to_contain_text('{"X-Team":"blue"}')
        await console.picture("read-only")
        await console.open("/new/webhook")
        await expect(console.heading).to_have_text("Add destination")
        await expect(main.locator("a.tile, form")).to_have_count(0)
        await console.open()
        await expect(console.rows).to_have_count(1)
        await expect(main.get_by_role("link", name="Add destination")).to_have_count(0)
        assert (await tenant.api.destination(made))["enabled"] is True


async def test_another_tenants_key_sees_nothing_of_it(console: Tab, tenant: Tenant, gateway: GatewayProcess) -> None:
    """Neither in the list, nor by its address, nor in the activity, nor when it changes."""
    other = await new_tenant(gateway)
    async with WebhookReceiver(format="ndjson") as hook:
        made = await tenant.api.create(hook, name="Not yours")
        await console.sign_in(other.key)
        await expect(console.page.locator(".tile")).to_have_count(5)
        await tenant.api.accept(events(2, tenant_id=tenant.name))
        await hook.wait_for(2)
        own = await other.api.create(hook, name="Yours")
        await expect(console.rows.locator(".row-title")).to_have_text(["Yours"])
        for tab in ("", "/deliveries", "/undelivered", "/settings", "/activity"):
            await console.open(f"/{made}{tab}")
            await expect(console.heading).to_have_text("This cannot be shown")
            await expect(console.page.get_by_role("main")).to_contain_text("There is no such destination")
        await console.page.get_by_role("navigation").get_by_role("link", name="Activity").click()
        await expect(console.page.locator(".activity")).to_contain_text("Yours")
        await expect(console.page.locator(".activity")).not_to_contain_text("Not yours")
        assert own != made


async def test_a_key_that_is_not_known_does_not_come_in(console: Tab, tenant: Tenant) -> None:
    """It says so, and nothing is kept; a good key is kept for the tab only when that is wanted."""
    await console.open()
    for wrong, words in (("tl_live_unknown", "The gateway does not know this key."), ("not a key", "no spaces")):
        await console.page.get_by_label("API key").fill(wrong)
        await console.button("Sign in").click()
        await expect(console.page.get_by_role("alert")).to_contain_text(words)
    assert await console.page.evaluate("sessionStorage.length + localStorage.length") == 0
    await console.page.get_by_label("Stay signed in").uncheck()
    await console.page.get_by_label("API key").fill(tenant.key)
    await console.button("Sign in").click()
    await expect(console.heading).to_have_text("SIEM destinations")
    assert await console.page.evaluate("sessionStorage.length + localStorage.length") == 0
    await console.page.reload()
    await expect(console.heading).to_have_text("Sign in")
    await console.sign_in(tenant.key)
    await console.page.reload()
    await expect(console.heading).to_have_text("SIEM destinations")
    await console.button("Sign out").click()
    await expect(console.heading).to_have_text("Sign in")
    assert await console.page.evaluate("sessionStorage.length + localStorage.length") == 0


async def test_a_key_without_the_entitlement_is_told_so(console: Tab, tenant: Tenant, gateway: GatewayProcess) -> None:
    """Streaming is a matter of the key's scopes."""
    made = await gateway.api.new_key(tenant.name, "events:write")
    await console.sign_in(made["key"])
    await expect(console.heading).to_have_text("No access to SIEM streaming")
    await expect(console.page.get_by_role("main")).to_contain_text("Enterprise tier")


async def test_a_key_that_is_revoked_is_out(console: Tab, tenant: Tenant, gateway: GatewayProcess) -> None:
    """The page goes back to the sign-in and says why, and shows nothing of before."""
    async with WebhookReceiver(format="ndjson") as hook:
        await tenant.api.create(hook, name="Seen before")
        await console.sign_in(tenant.key)
        await expect(console.rows).to_have_count(1)
        await gateway.api.expect(204, "DELETE", f"/v1/audit/keys/{tenant.key_id}")
        await expect(console.page.get_by_role("alert")).to_contain_text("no longer takes this key")
        await expect(console.page.get_by_text("Seen before")).to_have_count(0)


async def test_an_operator_sees_all_tenants_and_chooses_one(
    open_console: OpenTab, tenant: Tenant, gateway: GatewayProcess
) -> None:
    """A destination of an operator receives one tenant's events, or everybody's."""
    operator = (await gateway.api.new_key("*", "siem:read", "siem:write"))["key"]
    tab = await open_console()
    async with WebhookReceiver(format="ndjson") as hook:
        await tab.sign_in(operator, "/new/webhook")
        await tab.field("Name").fill(f"For {tenant.name}")
        await tab.field("Endpoint URL").fill(hook.endpoint)
        await tab.page.get_by_label("Signing secret (required)").fill(hook.credentials["secret"])
        await tab.page.get_by_label("Tenant").fill(tenant.name)
        await tab.button("Save").click()
        await expect(tab.heading).to_have_text(f"For {tenant.name}")
        await expect(tab.page.locator(".title")).to_contain_text(tenant.name)
        found = (await tenant.api.expect(200, "GET", "/v1/audit/siem"))["data"]
        assert [each["name"] for each in found] == [f"For {tenant.name}"]
