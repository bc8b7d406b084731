"""One request on its way, with real codecs, and time moved by hand."""

from __future__ import annotations

from gateway.delivery.attempt import Sender
from gateway.providers.codec import Batch, Reply, Request
from gateway.telemetry import Metrics
from tests.clock import ManualClock
from tests.provider_cases import CONTEXT, codec, event, headers, reply


class SlowReceiver:
    """Takes everything, each request in so many seconds."""

    def __init__(self, clock: ManualClock, seconds: float) -> None:
        self._clock, self._seconds = clock, seconds
        self.sent: list[tuple[float, dict[str, str]]] = []

    async def send(self, request: Request, *, timeout_s: float) -> Reply:
        self.sent.append((self._clock.time_s(), headers(request)))
        self._clock.advance(self._seconds)
        return reply(200, {})


async def sent_slowly(name: str, *lines: bytes) -> list[tuple[float, dict[str, str]]]:
    """When each request of a batch went out, and its headers."""
    clock = ManualClock()
    receiver, made = SlowReceiver(clock, 50.0), codec(name)
    sender = Sender(
        made,
        receiver,
        destination_id="siem_1",
        instance="gw",
        clock=clock,
        metrics=Metrics(),
        timeout_s=60,
    )
    context = sender.context()
    for request in made.encode(Batch(lines), context).requests:
        await sender.send(request, context)
    return receiver.sent


async def test_a_webhook_is_signed_when_it_is_sent() -> None:
    """Receivers refuse a time that is minutes old: the last of a batch tells its own, not that of the first."""
    sent = await sent_slowly("webhook", *(event(id=f"evt_{number}") for number in range(8)))
    assert [fields["webhook-timestamp"] for _, fields in sent] == [f"{at_s:.0f}" for at_s, _ in sent]
    assert all(fields["x-truthlocks-signature"].startswith(f"t={at_s:.0f},") for at_s, fields in sent)
    assert sent[-1][0] - sent[0][0] > 300


async def test_a_call_to_cloudwatch_is_signed_when_it_is_sent() -> None:
    """A batch that spans days is several calls."""
    sent = await sent_slowly("cloudwatch", *(event(timestamp=f"2026-06-{day}T12:00:00Z") for day in (26, 28, 30)))
    assert [fields["x-amz-date"] for _, fields in sent] == ["20260630T123500Z", "20260630T123550Z", "20260630T123640Z"]


async def test_what_an_answer_tells_of_the_age_of_events_is_remembered() -> None:
    """The least of it."""
    clock = ManualClock()
    made, day_s = codec("cloudwatch"), 86_400.0
    sender = Sender(
        made, Rejecting(), destination_id="siem_1", instance="gw", clock=clock, metrics=Metrics(), timeout_s=60
    )
    for days in (3, 5):
        context = sender.context()
        line = event(timestamp=f"2026-06-{30 - days}T12:35:00Z")
        (request,) = made.encode(Batch([line]), CONTEXT).requests
        await sender.send(request, context)
    assert sender.context().age_max_s == 3 * day_s


class Rejecting:
    async def send(self, request: Request, *, timeout_s: float) -> Reply:
        return reply(200, {"rejectedLogEventsInfo": {"tooOldLogEventEndIndex": 1}})
