"""A destination's TLS in the form, warnings about its connection, and a gateway that does not answer a reload."""

from __future__ import annotations

from pathlib import Path

import pytest
from playwright.async_api import Route, expect

from gateway.demo.receivers import WebhookReceiver
from tests.certificates import make_certificate
from tests.console.tab import Tab
from tests.console.tenants import Tenant

pytestmark = pytest.mark.asyncio(loop_scope="session")

SECRET = "a-secret-of-32-characters-or-more"
HTTPS = "https://127.0.0.1:9/events"


async def test_certificates_are_pasted_with_their_lines(console: Tab, tenant: Tenant, tmp_path: Path) -> None:
    """Authority and client certificate under the advanced options; kept as they are when something else is changed."""
    made = make_certificate(tmp_path, "siem.example.com")
    await console.sign_in(tenant.key, "/new/webhook")
    await console.field("Endpoint URL").fill(HTTPS)
    await console.page.get_by_label("Signing secret (required)").fill(SECRET)
    await console.page.get_by_text("Advanced options").click()
    for label, text in (
        ("Certificate authority", made.ca),
        ("Client certificate", made.certificate),
        ("Client key", made.key),
    ):
        field = console.page.get_by_label(label, exact=True)
        assert await field.evaluate("(element) => element.localName") == "textarea"
        await field.fill(text)
    await console.page.get_by_label("Server name", exact=True).fill("siem.example.com")
    await console.picture("form-tls")
    await console.button("Save").click()
    await expect(console.badge).to_be_visible()
    (stored,) = (await tenant.api.expect(200, "GET", "/v1/audit/siem"))["data"]
    assert stored["options"]["ca"] == made.ca.strip()
    assert stored["options"]["server_name"] == "siem.example.com"
    assert {"client_certificate", "client_key"} <= set(stored["credentials_set"])
    await console.link("Settings").click()
    await console.page.get_by_text("Advanced options").click()
    await expect(console.page.get_by_label("Certificate authority", exact=True)).to_have_value(stored["options"]["ca"])
    await expect(console.page.get_by_role("group", name="Client key")).to_be_visible()
    await console.page.get_by_label("Server name", exact=True).fill("other.example.com")
    async with console.page.expect_request(lambda request: request.method == "PUT") as put:
        await console.button("Save").click()
    assert (await put.value).post_data_json == {"options": {"server_name": "other.example.com"}}


async def test_not_verifying_is_refused_at_its_switch(console: Tab, tenant: Tenant) -> None:
    """Where the operator does not allow it: the fold opens, and the words stand at the switch, which has the focus."""
    await console.sign_in(tenant.key, "/new/webhook")
    await console.field("Endpoint URL").fill(HTTPS)
    await console.page.get_by_label("Signing secret (required)").fill(SECRET)
    await console.page.get_by_text("Advanced options").click()
    verify = console.page.get_by_role("switch", name="Verify the server")
    await verify.uncheck()
    await console.page.get_by_text("Advanced options").click()
    await console.button("Save").click()
    await expect(verify).to_be_focused()
    await expect(verify).to_have_attribute("aria-invalid", "true")
    fault = console.page.locator(".field", has=verify).locator(".fault")
    await expect(fault).to_contain_text("egress.allow_insecure_tls")
    await console.picture("form-tls-refused")
    await verify.check()
    await expect(fault).to_be_hidden()
    await console.button("Save").click()
    await expect(console.badge).to_be_visible()


async def test_warnings_are_seen(console: Tab, tenant: Tenant) -> None:
    """A word and an icon in the list, the whole sentence on the destination's screens; none where there is none."""
    async with WebhookReceiver(format="ndjson") as hook:
        made = await tenant.api.create(hook, name="In clear")
        await tenant.api.create(hook, name="Encrypted", endpoint=HTTPS)
        await console.sign_in(tenant.key)
        badge = console.rows.filter(has_text="In clear").locator(".caution")
        await expect(badge).to_have_text("Warning")
        await expect(badge.locator("svg")).to_be_visible()
        await expect(console.rows.filter(has_text="Encrypted")).to_have_count(1)
        await expect(console.page.locator(".caution")).to_have_count(1)
        await console.picture("list-warning")
        for tab in ("", "/settings"):
            await console.open(f"/{made}{tab}")
            notice = console.page.locator(".warnings .notice")
            await expect(notice).to_have_text("Warning: The connection is not encrypted: the endpoint is http://.")
            await expect(notice.locator("svg")).to_be_visible()


async def test_a_reload_without_an_answer_keeps_the_key(console: Tab, tenant: Tenant) -> None:
    """No answer, or one that says nothing of the key: the page says so, tries again, and goes on where it was."""

    async def fail(route: Route) -> None:
        await route.fulfill(status=500, json={"title": "Something went wrong inside."})

    await console.sign_in(tenant.key)
    for words, answer in (
        ("The gateway does not answer.", lambda route: route.abort()),
        ("Something went wrong inside.", fail),
    ):
        await console.page.route("**/v1/audit/whoami", answer)
        await console.page.reload()
        await expect(console.heading).to_have_text("Waiting for the gateway")
        await expect(console.page.get_by_role("alert")).to_have_text(words)
        await console.picture("waiting")
        await console.page.unroute("**/v1/audit/whoami")
        await console.button("Try now").click()
        await expect(console.heading).to_have_text("SIEM destinations")
    await console.page.route("**/v1/audit/whoami", fail)
    await console.page.reload()
    await console.button("Sign out").click()
    await expect(console.heading).to_have_text("Sign in")
    assert await console.page.evaluate("sessionStorage.length + localStorage.length") == 0
