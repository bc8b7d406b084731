"""What a person sees while a destination, or the gateway itself, gets into trouble and out of it again."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta

import pytest
from playwright.async_api import expect

from gateway.demo.receivers import Respond, WebhookReceiver, always
from tests.acceptance.audit_events import events
from tests.acceptance.gateway_process import GatewayProcess
from tests.console.tab import OpenTab, Tab
from tests.console.tenants import Tenant, new_tenant

pytestmark = pytest.mark.asyncio(loop_scope="session")

WORDS = "down for maintenance"
MAINTENANCE = Respond(503, WORDS.encode(), {"Retry-After": "120"})


async def test_a_destination_degrades_and_recovers_before_ones_eyes(console: Tab, tenant: Tenant) -> None:
    """State, reason, countdown and what is at risk come and go by themselves; *Try now* ends the wait."""
    async with WebhookReceiver(format="ndjson") as good, WebhookReceiver(format="ndjson") as bad:
        await tenant.api.create(good, name="A good one")
        await tenant.api.create(bad, name="The other")
        await console.sign_in(tenant.key)
        await expect(console.rows.locator(".row-title")).to_have_text(["A good one", "The other"])
        await expect(console.rows.locator(".status")).to_have_text(["Active", "Active"])
        bad.script = always(MAINTENANCE)
        await tenant.api.accept(events(7, tenant_id=tenant.name))
        await expect(console.rows.locator(".row-title")).to_have_text(["The other", "A good one"])
        await expect(console.rows.first.locator(".status")).to_have_text("Degraded")
        await expect(console.rows.first.locator(".cell-pending")).to_contain_text("7")
        await expect(console.rows.first).to_contain_text("First event lost in")
        await expect(console.page.get_by_text("2 destinations: 1 not delivering.")).to_be_visible()
        await console.picture("list-degraded")

        await console.link("The other").click()
        await expect(console.badge).to_have_text("Degraded")
        await expect(console.state).to_contain_text(re.compile(r"Next attempt in [12]:\d\d"))
        await expect(console.state).to_contain_text(
            re.compile(r"The first of 7 pending events is lost in 23 h 5\d min")
        )
        await console.picture("overview-degraded")
        await console.link("Deliveries").click()
        await expect(console.page.locator("tbody tr").first).to_contain_text(re.compile(f"503.*{WORDS}"))
        await console.picture("deliveries")

        bad.script = None
        await console.link("Overview").click()
        await console.button("Try now").click()
        await expect(console.badge).to_have_text("Active")
        await expect(console.figure("Pending").first).to_contain_text("0")
        await expect(console.state.get_by_text("Next attempt")).to_be_hidden()
        await expect(console.state.get_by_text("if nothing changes")).to_be_hidden()
        await expect(console.figure("Delivered")).to_have_text("7")
        await console.link("Activity").click()
        await expect(console.page.locator(".activity")).to_contain_text("Recovered")
        await expect(console.page.locator(".activity")).to_contain_text("Became degraded")


async def test_actions_that_no_filter_lets_through_are_named(console: Tab, tenant: Tenant) -> None:
    """Above the list, as text."""
    async with WebhookReceiver(format="ndjson") as hook:
        await tenant.api.create(hook, name="Some", filter={"actions": ["login.*"]})
        await tenant.api.accept(events(3, tenant_id=tenant.name, action="<b>mint</b>"))
        await console.sign_in(tenant.key)
        await expect(console.page.locator(".warnings")).to_have_text(
            "Warning: No destination's filter lets these actions through: <b>mint</b>."
        )
        await console.picture("list-unreached")


async def test_a_failed_destination_says_what_was_lost_and_starts_again(
    open_console: OpenTab, own_gateway: GatewayProcess
) -> None:
    """After the retry window: *Failed*, the dropped events as a gap, and *Enable again*."""
    tenant = await new_tenant(own_gateway)
    tab = await open_console(own_gateway.address)
    async with WebhookReceiver(format="ndjson", script=always(Respond(500))) as hook:
        made = await tenant.api.create(hook, name="Given up")
        await tab.sign_in(tenant.key, f"/{made}")
        await tenant.api.accept(events(5, tenant_id=tenant.name))
        await expect(tab.badge).to_have_text("Failed")
        await expect(tab.state).to_contain_text("5 events")
        await tab.link("Undelivered").click()
        await expect(tab.page.get_by_role("region", name="Gaps").locator("tbody tr")).to_contain_text("Retries ran out")
        await tab.picture("failed")
        hook.script = None
        await tab.link("Overview").click()
        await tab.button("Enable again").click()
        await expect(tab.badge).to_have_text("Active")


async def test_switching_off_asks_and_on_does_not(console: Tab, tenant: Tenant) -> None:
    """The switch *Enabled* in the list; Escape leaves it as it is."""
    async with WebhookReceiver(format="ndjson") as hook:
        made = await tenant.api.create(hook, name="Switched")
        await console.sign_in(tenant.key)
        switch = console.page.get_by_role("switch", name="Enabled: Switched")
        dialog = console.page.get_by_role("dialog", name="Disable Switched?")
        await switch.click()
        await expect(dialog).to_contain_text("that time becomes a gap")
        await console.page.keyboard.press("Escape")
        await expect(dialog).to_have_count(0)
        await expect(switch).to_be_checked()
        await switch.click()
        await dialog.get_by_role("button", name="Disable").click()
        await expect(console.rows.locator(".status")).to_have_text("Disabled")
        assert (await tenant.api.destination(made))["enabled"] is False
        await switch.click()
        await expect(console.rows.locator(".status")).to_have_text("Active")


async def test_a_form_follows_the_switch_above_it(console: Tab, tenant: Tenant) -> None:
    """Saving a form that was open meanwhile does not undo what the switch did."""
    async with WebhookReceiver(format="single") as hook:
        made = await tenant.api.create(hook, name="Both")
        await console.sign_in(tenant.key, f"/{made}/settings")
        in_form = console.page.get_by_role("switch", name="Enabled", exact=True)
        await expect(in_form).to_be_checked()
        await tenant.api.change(made, enabled=False)
        await expect(console.badge).to_have_text("Disabled")
        await expect(in_form).not_to_be_checked()
        await console.field("Name").fill("Both of them")
        async with console.page.expect_request(lambda request: request.method == "PUT") as put:
            await console.button("Save").click()
        assert (await put.value).post_data_json == {"name": "Both of them"}
        await expect(console.heading).to_have_text("Both of them")
        assert (await tenant.api.destination(made))["enabled"] is False


async def test_the_gateway_goes_and_comes_back(open_console: OpenTab, own_gateway: GatewayProcess) -> None:
    """While it is away that is said at the top and nothing disappears; after it, the page is live again, with its
    figures of before.
    """
    tenant = await new_tenant(own_gateway)
    tab = await open_console(own_gateway.address)
    await tab.page.clock.install()
    async with WebhookReceiver(format="ndjson") as hook:
        made = await tenant.api.create(hook, name="Constant")
        await tenant.api.accept(events(9, tenant_id=tenant.name))
        await hook.wait_for(9)
        await tab.sign_in(tenant.key, f"/{made}")
        chart = tab.page.get_by_role("img", name=re.compile("^Throughput: delivered 9,"))
        await expect(chart).to_be_visible()
        assert await own_gateway.terminate() == 0
        lost = tab.page.get_by_role("alert").filter(has_text="The gateway does not answer.")
        await expect(lost).to_be_visible()
        await expect(tab.heading).to_have_text("Constant")
        await tab.picture("gateway-gone")
        await tab.page.clock.pause_at(datetime.now(UTC) + timedelta(minutes=1))  # it does not try by itself first
        await own_gateway.start()
        await tab.button("Try now").click()
        await tab.page.clock.resume()
        await expect(lost).to_be_hidden()
        await expect(tab.badge).to_have_text("Active")
        api = own_gateway.api_with(tenant.key)
        await api.accept(events(2, tenant_id=tenant.name))
        await expect(tab.figure("Delivered")).to_have_text("11")
        await tab.page.reload()
        await expect(tab.page.get_by_role("img", name=re.compile("^Throughput: delivered 11,"))).to_be_visible()


async def test_without_a_stream_to_be_had_the_list_is_asked_for(console: Tab, tenant: Tenant) -> None:
    """When all streams are taken (503), the page shows what there is all the same, and keeps it up to date."""

    async with WebhookReceiver(format="ndjson") as hook:
        await console.page.route(
            "**/v1/audit/siem/stream", lambda route: route.fulfill(status=503, headers={"Retry-After": "1"}, body="{}")
        )
        await tenant.api.create(hook, name="First")
        await console.sign_in(tenant.key)
        await expect(console.rows.locator(".row-title")).to_have_text(["First"])
        await tenant.api.create(hook, name="Second")
        await expect(console.rows.locator(".row-title")).to_have_text(["First", "Second"])
        await expect(console.page.get_by_text("The gateway does not answer.")).to_have_count(0)
