"""Events that did not arrive: seen, saved, sent again, and closed by a backfill."""

from __future__ import annotations

import re

import msgspec
import pytest
from playwright.async_api import FilePayload, expect

from gateway.demo.receivers import Refuse, Respond, WebhookReceiver, always
from tests.acceptance.audit_events import by_id, events
from tests.console.tab import Tab
from tests.console.tenants import Tenant

REFUSES_POISON = Refuse(lambda event: b'"poison"' in event)

pytestmark = pytest.mark.asyncio(loop_scope="session")


async def test_dead_letters_are_saved_and_sent_again(console: Tab, tenant: Tenant) -> None:
    """With the provider's reason and the event, its numbers as they were spelled; the download has all, and a replay
    delivers them once the cause is gone.
    """
    async with WebhookReceiver(format="ndjson", script=always(REFUSES_POISON)) as hook:
        made = await tenant.api.create(hook, name="Strict")
        lines = events(3, tenant_id=tenant.name, action="poison")
        await tenant.api.accept([*lines, *events(5, tenant_id=tenant.name)])
        await console.sign_in(tenant.key, f"/{made}/undelivered")
        letters = console.page.locator(".letters > li")
        await expect(letters).to_have_count(3)
        await expect(letters.first).to_contain_text("refused")
        await console.picture("dead-letters")
        async with console.page.expect_download() as waiting:
            await console.button("Download NDJSON").first.click()
        download = await waiting.value
        assert download.suggested_filename.endswith(".ndjson")
        saved = [msgspec.json.decode(line) for line in (await download.path()).read_bytes().splitlines()]
        assert sorted(each["event_id"] for each in saved) == sorted(by_id(lines))
        hook.script = None
        await letters.first.locator("summary").click()
        for spelled in ("12345678901234567890", "1.50e+2"):
            await expect(letters.first.locator("pre")).to_contain_text(spelled)
        await console.button("Send this one again").click()
        await expect(letters).to_have_count(2)
        await console.button("Send all again").click()
        await expect(letters).to_have_count(0)
        await hook.wait_for(8)
        assert by_id(lines).items() <= hook.events.items()


async def test_a_gap_is_closed_by_a_backfill(console: Tab, tenant: Tenant) -> None:
    """The time while it was disabled is a gap; an export arrives from a file, and bad lines are named."""
    async with WebhookReceiver(format="ndjson") as hook:
        made = await tenant.api.create(hook, name="Paused")
        await tenant.api.change(made, enabled=False)
        lines = events(4, tenant_id=tenant.name)
        await tenant.api.accept(lines)
        assert len(await tenant.api.listed(made, "gaps")) == 1
        await tenant.api.change(made, enabled=True)
        await console.sign_in(tenant.key, f"/{made}/undelivered")
        gap = console.page.get_by_role("region", name="Gaps").locator("tbody tr")
        await expect(gap.first).to_contain_text("The destination was disabled")
        export = FilePayload(name="export.ndjson", mimeType="application/x-ndjson", buffer=b"\n".join([*lines, b"{}"]))
        await console.page.get_by_label("File of an audit export").set_input_files(export)
        await console.button("Send").click()
        await expect(console.page.get_by_text("Done: 4 events accepted, 1 rejected.")).to_be_visible()
        await expect(console.page.locator(".refused li")).to_have_text(re.compile("^Line 5: "))
        await console.picture("backfill")
        await hook.wait_for(4)
        assert set(by_id(lines)) <= set(hook.events)


async def test_a_long_backfill_is_cut_at_line_ends(console: Tab, tenant: Tenant) -> None:
    """It goes in pieces, none of which ends within an event, and line numbers count from the start of the file."""
    async with WebhookReceiver(format="ndjson") as hook:
        made = await tenant.api.create(hook, name="Long")
        lines = events(3000, tenant_id=tenant.name)
        await console.sign_in(tenant.key, f"/{made}/undelivered")
        buffer = b"\n".join([*lines, b"no event"])
        await console.page.get_by_label("File of an audit export").set_input_files(
            FilePayload(name="export.ndjson", mimeType="application/x-ndjson", buffer=buffer)
        )
        sent: list[str] = []
        console.page.on("request", lambda request: sent.append(request.url) if "backfill" in request.url else None)
        await console.button("Send").click()
        await expect(console.page.get_by_text("Done: 3,000 events accepted, 1 rejected.")).to_be_visible()
        await expect(console.page.locator(".refused li")).to_have_text(re.compile("^Line 3,001: "))
        assert len(sent) > len(buffer) // (512 << 10) > 1
        await hook.wait_for(3000)


async def test_deleting_with_events_pending_lets_one_choose(console: Tab, tenant: Tenant) -> None:
    """Deliver them first and be seen deleting, or discard them and be gone; events of this very second count."""
    async with WebhookReceiver(format="ndjson", script=always(Respond(503))) as hook:
        made = await tenant.api.create(hook, name="Clogged")
        await console.sign_in(tenant.key, f"/{made}/settings")
        dialog = console.page.get_by_role("dialog")
        delete = console.page.get_by_role("main").get_by_role("button", name="Delete destination")
        await expect(delete).to_be_visible()
        await tenant.api.accept(events(6, tenant_id=tenant.name))
        for choice in ("Deliver them first, then delete", "Discard them and delete at once"):
            await delete.click()
            await expect(dialog).to_contain_text("6 events pending")
            await dialog.get_by_label(choice).check()
            await dialog.get_by_label("to confirm").fill("Clogged")
            await console.picture("delete-pending")
            await dialog.get_by_role("button", name="Delete destination").click()
            await expect(dialog).to_have_count(0)
            if choice.startswith("Deliver"):
                await expect(console.badge).to_have_text("Deleting")
        await expect(console.page.locator(".tile")).to_have_count(5)
