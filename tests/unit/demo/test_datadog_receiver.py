"""Datadog's intake, request by request."""

import gzip
import zlib
from typing import Any

import pytest

from gateway.demo.receivers import Answer, DatadogReceiver, Refuse
from gateway.demo.receivers.datadog import API_KEY, taken_out
from tests.unit.demo.samples import call, event, gzipped_twice, now, said

PATH = "/api/v2/logs"
HEAD = b'{"ddsource":"truthlocks","ddtags":"env:prod","message":"a.b SUCCESS",'


def entry(item: bytes, head: bytes = HEAD) -> bytes:
    return head + item[1:]


def post(receiver: DatadogReceiver, *entries: bytes, **headers: Any) -> Answer:
    return receiver.respond(call(PATH, b"[" + b",".join(entries) + b"]", dd_api_key=API_KEY, **headers))


def test_stores_events_as_the_bytes_that_they_were() -> None:
    """Datadog's own members go, the rest is the event byte for byte."""
    receiver = DatadogReceiver(now=now)
    events = [event(number) for number in range(3)]
    answer = post(receiver, *map(entry, events))
    assert (answer.status, answer.body) == (202, b"{}")
    assert list(receiver.events.values()) == events


def test_takes_one_object_too() -> None:
    """A body may be a single log instead of an array."""
    receiver = DatadogReceiver(now=now)
    assert receiver.respond(call(PATH, entry(event(1)), dd_api_key=API_KEY)).status == 202
    assert receiver.events == {"evt_0001": event(1)}


@pytest.mark.parametrize(
    ("head", "sent", "original"),
    [
        (b'{"message":"m",', b'{"id":"a","service":"s"}', None),
        (b'{"ddsource":"x","hostname":"h","service":"gw","message":"m \\" {","status":"error",', b'{"id":"a"}', None),
        (
            b'{"message":"m","late":true,',
            b'{"id":"a","event_timestamp":"2020-01-01T00:00:00Z","n":{"event_timestamp":1}}',
            b'{"id":"a","timestamp":"2020-01-01T00:00:00Z","n":{"event_timestamp":1}}',
        ),
        (
            b'{"service":"gw","message":"m",',
            b'{"id":"a","event_service":"s","event_x":1}',
            b'{"id":"a","service":"s","event_x":1}',
        ),
        (b'{"message":"m",', b'{"id":"a","timestamp":1,"event_timestamp":2}', None),
    ],
)
def test_undoes_the_envelope_exactly(head: bytes, sent: bytes, original: bytes | None) -> None:
    """Members in front go and renamed ones get their names back; the event's own members are not touched."""
    assert taken_out(head + sent[1:]) == (original or sent)


def test_checks_the_key() -> None:
    """No key is 401 and a wrong one 403, for logs; validate tells 403."""
    receiver = DatadogReceiver(now=now)
    assert receiver.respond(call(PATH, b"[]")).status == 401
    assert receiver.respond(call(PATH, b"[]", dd_api_key="wrong")).status == 403
    good = receiver.respond(call("/api/v1/validate", method="GET", dd_api_key=API_KEY))
    assert (good.status, said(good)) == (200, {"valid": True})
    assert receiver.respond(call("/api/v1/validate", method="GET", dd_api_key="wrong")).status == 403
    assert receiver.respond(call("/v1/input", b"[]", dd_api_key=API_KEY)).status == 404
    assert receiver.respond(call(PATH, method="GET", dd_api_key=API_KEY)).status == 405


def test_limits_entries_and_bytes() -> None:
    """A thousand entries and five million bytes, counted without compression, are the most."""
    receiver = DatadogReceiver(now=now)
    assert post(receiver, *[b"{}"] * 1_000).status == 202
    assert post(receiver, *[b"{}"] * 1_001).status == 413
    large = gzip.compress(b'[{"message":"' + b"x" * 5_000_000 + b'"}]')
    assert receiver.respond(call(PATH, large, dd_api_key=API_KEY, content_encoding="gzip")).status == 413


def test_cuts_large_logs_silently() -> None:
    """A log over 1 MB is accepted, and is not what was sent."""
    receiver = DatadogReceiver(now=now)
    assert post(receiver, entry(event(1, text="x" * 1_000_000)), entry(event(2))).status == 202
    assert receiver.truncated == ["evt_0001"]
    assert list(receiver.events) == ["evt_0002"]


@pytest.mark.parametrize("timestamp", ["2026-06-29T18:34:00Z", "2026-06-30T14:36:00Z"])
def test_drops_what_is_out_of_time_silently(timestamp: str) -> None:
    """Older than 18 hours or more than two ahead is accepted with 202 and not stored."""
    receiver = DatadogReceiver(now=now)
    assert post(receiver, entry(event(1, timestamp=timestamp)), entry(event(2))).status == 202
    assert receiver.dropped == ["evt_0001"]
    assert list(receiver.events) == ["evt_0002"]


def test_a_renamed_date_is_not_looked_at() -> None:
    """An old event whose date has another name gets the time of arrival, and its own name back in the record."""
    receiver = DatadogReceiver(now=now)
    old = event(1, timestamp="2020-01-01T00:00:00Z")
    renamed = old.replace(b'"timestamp"', b'"event_timestamp"')
    post(receiver, entry(renamed, HEAD + b'"late":true,'))
    assert receiver.dropped == []
    assert receiver.events == {"evt_0001": old}


@pytest.mark.parametrize("body", [b"", b"[", b"[1]", b'"text"', b'[{"a":"\xff"}]'])
def test_refuses_what_is_not_logs(body: bytes) -> None:
    """Anything but JSON objects is 400."""
    answer = DatadogReceiver(now=now).respond(call(PATH, body, dd_api_key=API_KEY))
    assert answer.status == 400


def test_reads_gzip_and_deflate() -> None:
    """Both encodings are read, of gzip the first member alone; others are not."""
    receiver = DatadogReceiver(now=now)
    body = b"[" + entry(event(1)) + b"]"
    for encoding, encoded in (("gzip", gzipped_twice(body, body)), ("deflate", zlib.compress(body))):
        answer = receiver.respond(call(PATH, encoded, dd_api_key=API_KEY, content_encoding=encoding))
        assert answer.status == 202
    assert receiver.duplicates == {"evt_0001": 2}
    assert receiver.respond(call(PATH, body, dd_api_key=API_KEY, content_encoding="zstd")).status == 415


def test_a_refused_event_spoils_its_request() -> None:
    """Datadog names no event: the request is refused as a whole."""
    receiver = DatadogReceiver(now=now)
    body = b"[" + entry(event(1)) + b"," + entry(event(2)) + b"]"
    answer = receiver.respond(call(PATH, body, dd_api_key=API_KEY), Refuse(lambda item: b"evt_0002" in item))
    assert answer.status == 400
    assert receiver.events == {}
