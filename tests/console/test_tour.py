"""What the public page says about the console, done by hand in a browser, with receivers that check what arrives."""

from __future__ import annotations

import re

import pytest
from playwright.async_api import expect

from gateway.demo.receivers import KINDS, SplunkReceiver, WebhookReceiver
from tests.acceptance.audit_events import events
from tests.console.tab import Tab
from tests.console.tenants import Tenant

pytestmark = pytest.mark.asyncio(loop_scope="session")

JUST_SET = re.compile(r"set (just now|\d+ s ago)")
PROVIDERS = ("Splunk", "Datadog", "AWS CloudWatch", "Elastic / ELK", "Custom webhook")


async def test_settings_audit_siem_from_the_first_look_to_the_last(console: Tab, tenant: Tenant) -> None:
    """Sign in, see what there could be, add a destination, test it, save it, watch events arrive, and delete it."""
    page = console.page
    async with SplunkReceiver() as splunk:
        await page.goto(f"{console.address}/")
        await expect(console.heading).to_have_text("Sign in")
        await console.picture("sign-in")
        await console.sign_in(tenant.key)

        sidebar = page.get_by_role("navigation", name="Console")
        await expect(sidebar).to_have_text(re.compile(r"Settings\s*Audit\s*SIEM"))
        await expect(sidebar.get_by_role("link", name="SIEM")).to_have_attribute("aria-current", "page")
        await expect(page.locator(".tile")).to_have_text([re.compile(f"{name}$") for name in PROVIDERS])
        await expect(page.get_by_role("region", name="Sample event")).to_contain_text('"action": "attestation.mint"')
        await console.picture("empty")

        await console.link("Add destination").click()
        await expect(console.heading).to_have_text("Add destination")
        await page.locator("a.tile", has_text="Splunk").click()
        await expect(console.heading).to_have_text("Add Splunk")
        await console.field("Name").fill("Splunk production")
        await console.field("Endpoint URL").fill(splunk.endpoint)
        await page.get_by_label("HEC token (required)").fill(splunk.credentials["token"])
        await expect(page.get_by_role("switch", name="Enabled")).to_be_checked()

        await console.button("Test").click()
        report = page.get_by_role("region", name="Test result")
        await expect(report).to_contain_text("The test event arrived")
        await expect(report.locator(".step")).to_have_count(6)
        await expect(report.locator(".step", has_text="Write")).to_contain_text("done")
        await console.picture("test-result")
        await console.button("Save").click()

        await expect(console.heading).to_have_text("Splunk production")
        await expect(console.badge).to_have_text("Active")
        lines = events(25, tenant_id=tenant.name)
        await tenant.api.accept(lines)
        await splunk.wait_for(26)
        await expect(console.figure("Delivered")).to_have_text("25")
        await expect(console.figure("Balanced")).to_have_text("Yes")
        await console.picture("overview")

        await console.link("Deliveries").click()
        await expect(page.locator("tbody tr").first).to_contain_text("Delivered")
        await console.link("SIEM destinations").click()
        await expect(console.rows).to_have_count(1)
        await expect(console.rows).to_contain_text("Active")
        await expect(console.rows).to_contain_text("127.0.0.1:")
        await console.picture("list")
        await console.link("Splunk production").click()

        await console.link("Settings").click()
        await expect(page.get_by_role("group", name="HEC token")).to_contain_text(JUST_SET)
        await console.button("Delete destination").click()
        dialog = page.get_by_role("dialog")
        await expect(dialog).to_contain_text("Nothing is pending.")
        really = dialog.get_by_role("button", name="Delete destination")
        await dialog.get_by_label("to confirm").fill("Splunk")
        await expect(really).to_be_disabled()
        await dialog.get_by_label("to confirm").fill("Splunk production")
        await console.picture("delete")
        await really.click()
        await expect(page.locator(".tile")).to_have_count(5)
        await expect(page.get_by_role("status").last).to_have_text("Splunk production is deleted.")


@pytest.mark.parametrize("provider", KINDS)
async def test_each_provider_can_be_added(console: Tab, tenant: Tenant, provider: str) -> None:
    """Endpoint, credentials and options of each, given in the form, reach the receiver with the test event."""
    async with KINDS[provider]() as receiver:
        described = await tenant.api.expect(200, "GET", "/v1/audit/siem/providers")
        fields = {each["name"]: each for each in next(p for p in described["data"] if p["name"] == provider)["fields"]}
        await console.sign_in(tenant.key, f"/new/{provider}")
        await console.field("Endpoint URL").fill(receiver.endpoint)
        for name, value in receiver.credentials.items():
            await console.page.get_by_label(f"{fields[name]['label']} (required)").fill(value)
        await console.page.get_by_text("Advanced options").click()
        for name, option in receiver.options.items():
            field = console.page.get_by_label(fields[name]["label"], exact=True)
            if fields[name]["type"] == "enum":
                is_default = option == fields[name]["default"]
                await field.select_option(label=f"{option} (default)" if is_default else str(option))
            else:
                await field.fill(str(option))
        await console.button("Test").click()
        await expect(console.page.get_by_role("region", name="Test result")).to_contain_text("The test event arrived")
        await console.button("Save").click()
        await expect(console.badge).to_have_text("Active")
        await tenant.api.accept(events(3, tenant_id=tenant.name))
        await receiver.wait_for(4)
        await expect(console.figure("Delivered")).to_have_text("3")


async def test_an_update_sends_what_was_changed_and_nothing_else(console: Tab, tenant: Tenant) -> None:
    """A new name and a new secret are stored; endpoint, filter and options stay, and no secret is ever in the page."""
    async with WebhookReceiver(format="ndjson") as hook:
        made = await tenant.api.create(hook, name="Before", filter={"actions": ["attestation.*"]})
        before = await tenant.api.destination(made)
        await console.sign_in(tenant.key, f"/{made}/settings")
        await expect(console.field("Name")).to_have_value("Before")
        await expect(console.page.get_by_label("Only these actions")).to_have_value("attestation.*")
        await console.field("Name").fill("After")
        group = console.page.get_by_role("group", name="Signing secret")
        await group.get_by_role("button", name="Replace").click()
        secret = "whsec_bmV3IHNlY3JldCBvZiB0aGUgcmVjZWl2ZXI="
        await console.page.get_by_label("Signing secret (required)").fill(secret)
        async with console.page.expect_request(lambda request: request.method == "PUT") as put:
            await console.button("Save").click()
        assert (await put.value).post_data_json == {"name": "After", "secret": secret}
        await expect(console.heading).to_have_text("After")
        await expect(console.button("Save")).to_be_focused()
        await expect(group).to_contain_text(JUST_SET)
        await expect(console.page.locator("input[type=password]")).to_have_count(1)
        await expect(console.page.get_by_label("Previous signing secret", exact=True)).to_have_value("")
        after = await tenant.api.destination(made)
        assert {name: after[name] for name in ("endpoint", "filter", "options")} == {
            name: before[name] for name in ("endpoint", "filter", "options")
        }
        await console.link("Activity").click()
        entries = console.page.locator(".activity > li")
        await expect(entries.first).to_contain_text("Changed")
        await expect(entries.first).to_contain_text("secret: replaced")
        await expect(entries.first).to_contain_text("Before → After")
        await expect(entries.last).to_contain_text("Created")
        await console.picture("activity")
        assert secret not in await console.page.content()


async def test_what_is_wrong_is_said_at_its_field(console: Tab, tenant: Tenant) -> None:
    """What the page can see is said before anything is sent, the rest by the gateway; the first field has the focus."""
    await console.sign_in(tenant.key, "/new/splunk")
    await console.button("Save").click()
    endpoint = console.field("Endpoint URL")
    await expect(endpoint).to_have_attribute("aria-invalid", "true")
    await expect(endpoint).to_be_focused()
    await endpoint.fill("ftp://files.example.com")
    await console.page.get_by_label("HEC token (required)").fill("a-token")
    await console.button("Save").click()
    fault = console.page.locator(".field", has=console.page.get_by_label("Endpoint URL")).locator(".fault")
    await expect(fault).not_to_be_empty()
    await expect(endpoint).to_have_accessible_description(re.compile(re.escape((await fault.inner_text())[:20])))
    await expect(endpoint).to_be_focused()
    await console.picture("form-errors")


async def test_the_filter_shows_what_it_would_let_through(console: Tab, tenant: Tenant) -> None:
    """Of the newest events that are still in the queue, while one types."""
    async with WebhookReceiver(format="ndjson") as hook:
        await tenant.api.create(hook)
        lines = events(6, tenant_id=tenant.name) + events(4, tenant_id=tenant.name, action="key.rotate")
        await tenant.api.accept(lines)
        await console.sign_in(tenant.key, "/new/webhook")
        await console.page.get_by_text("Filter", exact=True).click()
        await expect(console.page.get_by_text(re.compile(r"^Matches (\d+) of the last \1 events$"))).to_be_visible()
        await console.page.get_by_label("Only these actions").fill("key.*")
        await expect(console.page.get_by_text(re.compile(r"^Matches 4 of the last 1\d events$"))).to_be_visible()
        await console.page.get_by_text("Newest of them").click()
        rows = console.page.get_by_role("region", name="Newest events").locator("tbody tr")
        await expect(rows.filter(has_text="key.rotate").first).to_contain_text("yes")
        await expect(rows.filter(has_text="attestation.mint").first).to_contain_text("no")
        await console.picture("filter")
