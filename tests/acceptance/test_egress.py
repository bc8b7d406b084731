"""No provider's destination reaches inside, whenever it is looked at: created, changed, tried, or at an attempt."""

from __future__ import annotations

from contextlib import AsyncExitStack

from gateway.demo.receivers import KINDS, Receiver, SplunkReceiver, always, redirect
from tests.acceptance.audit_events import events
from tests.acceptance.gateway_process import StartGateway

SIEM = "/v1/audit/siem"
# Each spells 127.0.0.1 or the metadata service, and none may be saved.
INSIDE = (
    "http://127.0.0.1:{port}",
    "http://127.1:{port}",
    "http://2130706433:{port}",
    "http://0x7f.0.0.1:{port}",
    "http://0177.0.0.1:{port}",
    "http://[::ffff:127.0.0.1]:{port}",
    "http://[64:ff9b::7f00:1]:{port}",
    "http://[2002:7f00:1::]:{port}",
    "http://localhost.:{port}",
    "http://127\u30020\u30020\u30021:{port}",
    "http://\u2460\u2461\u2466.0.0.1:{port}",
    "http://169.254.169.254",
    "http://8.8.8.8@127.0.0.1:{port}",
    "http://8.8.8.8\\@127.0.0.1:{port}",
    "http://[::1%25lo]:{port}",
)


async def test_every_provider_is_guarded_at_every_step(start_gateway: StartGateway) -> None:
    """Saved, changed and tried: refused at the endpoint. Stored before the operator closed the door: kept and not sent,
    with the code egress_blocked, and not one connection is made.
    """
    gateway = await start_gateway()
    async with AsyncExitStack() as stack:
        created: dict[str, Receiver] = {}
        for kind in KINDS.values():
            receiver = await stack.enter_async_context(kind())
            created[await gateway.api.create(receiver)] = receiver
        await gateway.restart(egress_allow_private="false")
        await gateway.api.accept(events(3))
        for destination, receiver in created.items():
            found = await gateway.api.until_degraded(destination)
            assert found["health"]["last_error"]["code"] == "egress_blocked"
            assert found["health"]["pending_events"] == 3
            path = f"{SIEM}/{destination}"
            content = {"provider": receiver.provider, "options": receiver.options, **receiver.credentials}
            port = receiver.url.rpartition(":")[2]
            for spelling in INSIDE:
                change = {"endpoint": spelling.format(port=port)}
                for method, where, body in (
                    ("POST", SIEM, content | change),
                    ("POST", f"{SIEM}/test", content | change),
                    ("PUT", path, change),
                    ("PUT", f"{path}?verify=true", change),
                    ("POST", f"{path}/test", change),
                ):
                    answer = await gateway.api.call(method, where, json=body)
                    assert (answer.status, [error["field"] for error in answer.json()["errors"]]) == (422, ["endpoint"])
            told = await gateway.api.expect(200, "POST", f"{path}/test")
            assert (told["ok"], told["status_code"]) == (False, None)
            assert list(receiver.requests) == []


async def test_a_listed_network_is_reached_and_a_redirect_leads_nowhere(start_gateway: StartGateway) -> None:
    """The operator lets one address in; an endpoint there that redirects to its neighbour gets nobody to follow."""
    gateway = await start_gateway(egress_allow_private="false", egress_allow_networks="127.0.0.1/32")
    async with (
        SplunkReceiver() as elsewhere,
        SplunkReceiver(script=always(redirect(elsewhere.endpoint))) as receiver,
    ):
        destination = await gateway.api.create(receiver)
        await gateway.api.accept(events(3))
        found = await gateway.api.until_degraded(destination)
        assert found["health"]["last_error"]["code"] == "http_307"
        assert "redirects are not followed" in found["health"]["last_error"]["message"]
        assert list(elsewhere.requests) == []
        neighbour = {"endpoint": receiver.endpoint.replace("127.0.0.1", "127.0.0.2")}
        assert (await gateway.api.call("PUT", f"{SIEM}/{destination}", json=neighbour)).status == 422
