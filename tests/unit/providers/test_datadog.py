from __future__ import annotations

import json

import pytest

from gateway.errors import RequestRejected
from gateway.providers.codec import Batch, Context, Delivered, Misconfigured, Outcome, Request, Retry, Split
from tests.provider_cases import CHANNEL, CONTEXT, EVENT, NOW_S, codec, event, headers, reply

HEAD = b'{"ddsource":"truthlocks","ddtags":"env:prod","message":"attestation.mint SUCCESS",'


def sent(*lines: bytes, options: dict[str, object] | None = None, now_s: float = NOW_S) -> Request:
    context = Context(now_s=now_s, channel=CHANNEL, instance="gw-01")
    (request,) = codec("datadog", options).encode(Batch(lines), context).requests
    return request


def entry(line: bytes, options: dict[str, object] | None = None, now_s: float = NOW_S) -> list[tuple[str, object]]:
    """Keys and values of the one log that is sent, repeated keys included."""
    pairs: list[tuple[str, object]] = json.loads(
        sent(line, options=options, now_s=now_s).body[1:-1], object_pairs_hook=list
    )
    return pairs


def verdict(status: int, body: object = b"{}", **fields: str) -> Outcome:
    return codec("datadog").classify(sent(EVENT), reply(status, body, **fields), CONTEXT)


def test_vector_of_one_event() -> None:
    """The reference event makes exactly these 471 bytes."""
    request = sent(EVENT, options={"tags": ["env:prod"]})
    assert request.body == b"[" + HEAD + EVENT[1:] + b"]"
    assert len(request.body) == 471
    assert request.url == "https://http-intake.logs.datadoghq.com/api/v2/logs"
    assert headers(request) == {"dd-api-key": "dd0123456789abcdef", "content-type": "application/json"}


def test_events_are_elements_of_one_array() -> None:
    """A batch is a JSON array; large ones ask for gzip."""
    request = sent(EVENT, EVENT, EVENT, options={"tags": "env:prod"})
    assert request.body == b"[" + b",".join([HEAD + EVENT[1:]] * 3) + b"]"
    assert request.gzip


@pytest.mark.parametrize("tags", ["env:prod, team:audit", ["env:prod", " team:audit "], ("env:prod", "team:audit", "")])
def test_tags_come_as_list_or_text(tags: object) -> None:
    """Both spellings are the same tags."""
    assert dict(entry(EVENT, {"tags": tags}))["ddtags"] == "env:prod,team:audit"


def test_a_tag_with_a_comma_is_refused() -> None:
    """A tag that would be read as two is an error of the options."""
    with pytest.raises(RequestRejected, match="tags"):
        codec("datadog", {"tags": ["a,b"]})


def test_tags_are_no_longer_than_datadog_takes_them() -> None:
    """They stand in every event, so that long ones would make megabytes of a batch of small events."""
    tags = [f"{number}:".ljust(200, "x") for number in range(20)]
    (request,) = codec("datadog", {"tags": tags}).encode(Batch([EVENT] * 1_000), CONTEXT).requests
    assert len(request.body) < 5_000_000
    for too_much in (["x" * 201], [*tags, "y" * 100]):
        with pytest.raises(RequestRejected, match="tags"):
            codec("datadog", {"tags": too_much})


def test_a_failure_has_the_status_error() -> None:
    """What did not succeed stands out; the rest has Datadog's default, info."""
    assert dict(entry(event(outcome="DENIED")))["status"] == "error"
    assert "status" not in dict(entry(EVENT))


def test_a_chosen_service_keeps_the_events_own_beside_it() -> None:
    """With the option, the event's service is kept under another name, and no key stands there twice."""
    pairs = entry(EVENT, {"service": "audit", "hostname": "gw"})
    assert dict(pairs)["service"] == "audit"
    assert dict(pairs)["event_service"] == "trust-registry"
    assert dict(pairs)["hostname"] == "gw"
    assert len(pairs) == len(dict(pairs))


@pytest.mark.parametrize("name", ["message", "ddsource", "ddtags", "hostname", "status"])
def test_the_events_own_members_win(name: str) -> None:
    """A member of the event that is called like one of Datadog's stays, and ours is left out."""
    pairs = entry(event(outcome="FAILURE", **{name: "own"}), {"tags": "a:b", "hostname": "gw"})
    assert [value for key, value in pairs if key == name] == ["own"]


def test_an_event_with_every_member_gets_none_of_ours() -> None:
    """Nothing is left to add: the event goes as it is."""
    full = event(message="m", ddsource="d")
    assert sent(full).body == b"[" + full + b"]"


def test_an_own_at_timestamp_does_not_become_the_date() -> None:
    """Datadog looks at ``@timestamp`` before ``timestamp``; the event's date is the latter."""
    pairs = dict(entry(event(**{"@timestamp": "2001-01-01T00:00:00Z"})))
    assert pairs["event_@timestamp"] == "2001-01-01T00:00:00Z"
    assert pairs["timestamp"] == "2026-06-30T12:34:56.789Z"


LATE_LINE = (
    b'{"id":"e", "action":"a","outcome":"SUCCESS","metadata":{"timestamp":"\\"timestamp\\":","date":1},'
    b'"n":1.0e5,"timestamp" : "2026-06-30T12:34:56.789Z","date":"2026-06-30"}'
)


def test_a_late_event_loses_its_date_and_nothing_else() -> None:
    """Every date of a late event is renamed at the top level; all other bytes stay, nested dates too."""
    body = sent(LATE_LINE, now_s=NOW_S + 17 * 3600).body
    expected = LATE_LINE.replace(b'"timestamp" :', b'"event_timestamp" :').replace(b'"date":"', b'"event_date":"')
    assert body == b'[{"ddsource":"truthlocks","message":"a SUCCESS","late":true,' + expected[1:] + b"]"


@pytest.mark.parametrize(
    ("age_s", "late"),
    [(0, False), (16.9 * 3600, False), (17.1 * 3600, True), (-3600, False), (-2 * 3600, True), (400 * 86400, True)],
)
@pytest.mark.parametrize(
    "timestamp", ["2026-06-30T12:34:56.789Z", "2026-06-30T05:34:56.789-07:00", "2026-06-30t12:34:56.789z"]
)
def test_late_is_older_than_17_hours_or_far_ahead(timestamp: str, age_s: float, late: bool) -> None:
    """The age decides, in whatever zone it is written."""
    pairs = dict(entry(event(timestamp=timestamp), now_s=NOW_S + age_s))
    assert ("late" in pairs, "timestamp" in pairs) == (late, not late)


def test_a_time_that_cannot_be_read_is_late() -> None:
    """What Datadog would not understand either gets the time of arrival."""
    assert dict(entry(event(timestamp="whenever")))["event_timestamp"] == "whenever"


def test_a_log_above_one_megabyte_is_refused() -> None:
    """Datadog would cut it off without a word; the others of its batch are sent."""
    encoded = codec("datadog").encode(Batch([EVENT, event(metadata={"pad": "x" * 1_000_000}), EVENT]), CONTEXT)
    assert [(refusal.position, refusal.code) for refusal in encoded.refused] == [(1, "too_large")]
    assert [list(request.positions) for request in encoded.requests] == [[0, 2]]


def test_bodies_stay_below_five_megabytes_and_a_thousand_logs() -> None:
    """Both limits cut."""
    large = [event(metadata={"pad": "x" * 900_000})] * 8
    requests = codec("datadog").encode(Batch(large), CONTEXT).requests
    assert [len(request.positions) for request in requests] == [5, 3]
    assert all(len(request.body) <= 5_000_000 for request in requests)
    assert [len(request.positions) for request in codec("datadog").encode(Batch([EVENT] * 1001), CONTEXT).requests] == [
        1000,
        1,
    ]


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (202, Delivered),
        (400, Split),
        (401, Misconfigured),
        (403, Misconfigured),
        (404, Misconfigured),
        (408, Retry),
        (413, Split),
        (429, Retry),
        (500, Retry),
        (501, Misconfigured),
        (502, Retry),
        (504, Retry),
    ],
)
def test_statuses(status: int, kind: type[Outcome]) -> None:
    """The table of Datadog's answers."""
    assert isinstance(verdict(status), kind)


def test_throttling_waits_for_the_rate_limit_to_reset() -> None:
    """Datadog's own header counts where Retry-After is missing."""
    assert verdict(429, x_ratelimit_reset="30") == Retry(
        "the endpoint asks for fewer requests (HTTP 429): {}", code="http_429", after_s=30.0, throttled=True
    )
    outcome = verdict(429, retry_after="5", x_ratelimit_reset="30")
    assert isinstance(outcome, Retry)
    assert outcome.after_s == 5.0


def test_a_wrong_key_names_the_site() -> None:
    """A key of another site answers 403, which the text says; the key itself is not shown."""
    outcome = verdict(403, {"errors": ["dd0123456789abcdef is not valid"]})
    assert isinstance(outcome, Misconfigured)
    assert "site" in outcome.reason
    assert "dd0123456789abcdef" not in outcome.reason
