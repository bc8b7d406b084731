"""Every secret can be changed without a hole in the stream: encryption key, API keys, credentials of destinations."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from pathlib import Path

from gateway.demo.receivers import SplunkReceiver, WebhookReceiver
from tests.acceptance.audit_events import by_id, events
from tests.acceptance.gateway_process import StartGateway
from tests.acceptance.test_command_line import CommandLine

SIEM = "/v1/audit/siem"
OLD, NEW = "old-secret-key-0123456789", "new-secret-key-0123456789"


async def test_a_generated_encryption_key_is_changed(start_gateway: StartGateway, tmp_path: Path) -> None:
    """`gateway secrets rotate` is refused while the gateway runs; between a stop and a start it makes a new key, and
    the destinations go on with their credentials.
    """
    gateway = await start_gateway()
    key_file = gateway.data_dir / "secret-key"
    before = key_file.read_text()
    command = CommandLine(tmp_path, GATEWAY_DATA_DIR=str(gateway.data_dir))
    async with SplunkReceiver() as receiver:
        destination = await gateway.api.create(receiver)
        refused = await command.type("secrets", "rotate")
        assert (refused.code, "is in use by process" in refused.refusal) == (2, True)
        assert key_file.read_text() == before
        assert await gateway.terminate() == 0
        assert (await command.type("secrets", "rotate")).out == "1 destinations were encrypted anew.\n"
        after = key_file.read_text()
        assert (after == before, "," in after, key_file.stat().st_mode & 0o777) == (False, False, 0o600)
        await gateway.start()
        lines = events(20)
        await gateway.api.accept(lines)
        assert (await gateway.api.until_settled(destination))["delivered"] == 20
        assert receiver.events == by_id(lines)


async def test_a_given_encryption_key_is_changed(start_gateway: StartGateway, tmp_path: Path) -> None:
    """NEW,OLD, then `gateway secrets rotate`, then NEW alone."""
    gateway = await start_gateway(secret_key=OLD)
    async with SplunkReceiver() as receiver:
        destination = await gateway.api.create(receiver)
        assert await gateway.terminate() == 0
        both = CommandLine(tmp_path, GATEWAY_DATA_DIR=str(gateway.data_dir), GATEWAY_SECRET_KEY=f"{NEW},{OLD}")
        done = await both.type("secrets", "rotate")
        assert done.out.splitlines()[0] == "1 destinations were encrypted anew."
        assert NEW not in done.out + done.err
        new = both.with_(GATEWAY_SECRET_KEY=NEW)
        assert (await new.type("secrets", "rotate", "--json")).json == {"resealed": 0, "unreadable": []}
        lost = await both.with_(GATEWAY_SECRET_KEY="another-secret-key-0123").type("secrets", "rotate")
        assert (lost.code, destination in lost.err) == (1, True)
        gateway.settings["secret_key"] = NEW
        await gateway.start()
        await gateway.api.accept(events(5))
        assert (await gateway.api.until_settled(destination))["delivered"] == 5


async def test_a_directory_that_is_none_is_not_rotated(tmp_path: Path) -> None:
    """A misspelt directory is not made into one with a key of its own."""
    absent = tmp_path / "absent"
    refused = await CommandLine(tmp_path).type("secrets", "rotate", "--data-dir", str(absent))
    assert (refused.code, "is not the data directory" in refused.refusal) == (2, True)
    assert not absent.exists()


async def test_an_api_key_is_changed_with_an_overlap(start_gateway: StartGateway) -> None:
    """Both keys count until the old one is revoked or its time has come; then it is refused at once."""
    gateway = await start_gateway()
    old = await gateway.api.new_key("tenant-a", "siem:read", "keys:write")
    new = await gateway.api_with(old["key"]).new_key("tenant-a", "siem:read", "keys:write")
    for key in (old, new):
        assert (await gateway.api_with(key["key"]).call("GET", SIEM)).status == 200
    answer = await gateway.api_with(new["key"]).call("DELETE", f"/v1/audit/keys/{old['id']}")
    assert answer.status == 204
    assert (await gateway.api_with(old["key"]).call("GET", SIEM)).status == 401
    assert (await gateway.api_with(new["key"]).call("GET", SIEM)).status == 200
    end = datetime.now(UTC) + timedelta(seconds=3)
    content = {"name": "x", "scopes": ["siem:read"], "expires_at": end.isoformat()}
    short = (await gateway.api.expect(201, "POST", "/v1/audit/keys", json=content))["key"]
    asked = datetime.now(UTC)
    while (answer := await gateway.api_with(short).call("GET", SIEM)).status == 200:
        assert asked < end
        await asyncio.sleep(0.05)  # no more requests than a key may send
        asked = datetime.now(UTC)
    assert answer.status == 401
    assert datetime.now(UTC) >= end


async def test_a_webhooks_secret_is_changed_with_an_overlap(start_gateway: StartGateway) -> None:
    """While both are set every request is signed with both, so the receiver may change whenever it likes."""
    gateway = await start_gateway()
    async with WebhookReceiver(secret=OLD) as receiver:
        destination = await gateway.api.create(receiver)
        await gateway.api.change(destination, secret=NEW, previous_secret=OLD)
        await gateway.api.accept(events(3))
        assert (await gateway.api.until_settled(destination))["delivered"] == 3
        receiver._secret = NEW
        await gateway.api.accept(events(3))
        assert (await gateway.api.until_settled(destination))["delivered"] == 6
        assert receiver.requests[-1].headers["x-truthlocks-signature"].count("v1=") == 2
        shown = await gateway.api.change(destination, previous_secret=None)
        assert shown["credentials_set"] == ["secret"]
        await gateway.api.accept(events(3))
        assert (await gateway.api.until_settled(destination))["delivered"] == 9
        assert receiver.requests[-1].headers["x-truthlocks-signature"].count("v1=") == 1
        assert all(request.status == 200 for request in receiver.requests)


async def test_a_new_credential_is_tried_before_it_is_used(start_gateway: StartGateway) -> None:
    """With ?verify=true a wrong token changes nothing, and the stream goes on with the old one."""
    gateway = await start_gateway()
    async with SplunkReceiver() as receiver:
        destination = await gateway.api.create(receiver)
        before = await gateway.api.destination(destination)
        path = f"{SIEM}/{destination}?verify=true"
        refused = await gateway.api.call("PUT", path, json={"token": "11111111-0000-0000-0000-000000000000"})
        assert refused.status == 422
        assert "nothing was changed" in refused.json()["detail"]
        assert "11111111-0000" not in refused.body.decode()
        assert (await gateway.api.destination(destination))["updated_at"] == before["updated_at"]
        await gateway.api.accept(events(3))
        assert (await gateway.api.until_settled(destination))["delivered"] == 3
        assert (await gateway.api.call("PUT", path, json=receiver.credentials)).status == 200
