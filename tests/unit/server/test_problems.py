"""Errors: one shape for all of them, and nothing in them that does not belong outside."""

from __future__ import annotations

import asyncio
import json

import pytest

from gateway.destinations.sqlite import SqliteStore
from gateway.errors import (
    Conflict,
    ConnectFailed,
    EgressBlocked,
    GatewayError,
    LogCorrupt,
    NotFound,
    QueueFull,
    QueueUnavailable,
    RequestRejected,
    StoreUnavailable,
)
from gateway.queue.wal.log import WalQueue
from gateway.server.call import MANAGEMENT_BODY_BYTES_MAX
from gateway.server.problems import answer_to
from gateway.server.routes import ROUTES
from tests.events import event
from tests.loopback_gateway import NDJSON, OPERATOR, WEBHOOK, Answer, Gateway

SIEM = "/v1/audit/siem"


async def test_each_kind_of_error_has_the_same_shape(gateway: Gateway) -> None:
    """``application/problem+json`` with type, title, status and detail, whoever refuses the request."""
    destination = await gateway.make_destination()
    answers = {
        400: await gateway.ask("POST", SIEM, data=b"nonsense"),
        401: await gateway.ask("GET", SIEM, key=None),
        403: await gateway.ask("GET", SIEM, key=await gateway.make_key("acme", "events:write")),
        404: await gateway.ask("GET", f"{SIEM}/siem_nobody"),
        405: await gateway.ask("POST", f"{SIEM}/{destination}"),
        409: await gateway.ask("DELETE", "/v1/audit/keys/key_bootstrap"),
        413: await gateway.ask("POST", SIEM, data=b" " * (MANAGEMENT_BODY_BYTES_MAX + 1)),
        415: await gateway.ask("POST", "/v1/audit/events", data=b"x", headers={"Content-Type": "text/plain"}),
        422: await gateway.ask("POST", SIEM, json={"provider": "nobody"}),
    }
    gateway.queue.refuse_appends()
    answers[503] = await gateway.post(event())
    titles = {
        400: "Bad Request",
        401: "Unauthorized",
        403: "Forbidden",
        404: "Not Found",
        405: "Method Not Allowed",
        409: "Conflict",
        415: "Unsupported Media Type",
        503: "Service Unavailable",
    }
    for status, answer in answers.items():
        assert (answer.status, answer.problem["status"], answer.problem["type"]) == (status, status, "about:blank")
        assert answer.problem["title"] == titles.get(status, answer.problem["title"])


@pytest.mark.parametrize(
    "path", ["/x", "/v1", "/v1/audit", "/v1/audit/siem/a/b", "/v2/audit/siem", "/metrics/x", "/%00"]
)
async def test_an_unknown_route_is_a_problem_too(gateway: Gateway, path: str) -> None:
    """404 that says where the routes are listed."""
    answer = await gateway.ask("GET", path)
    assert (answer.status, "/openapi.json" in answer.detail) == (404, True)


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("GET", "/v1/audit/events", "POST"),
        ("DELETE", SIEM, "GET, HEAD, POST"),
        ("POST", f"{SIEM}/siem_1", "DELETE, GET, HEAD, PATCH, PUT"),
        ("DELETE", f"{SIEM}/providers", "GET, HEAD"),
        ("GET", f"{SIEM}/test", "POST"),
        ("GET", f"{SIEM}/siem_1/dead-letters/replay", "POST"),
        ("POST", "/healthz", "GET, HEAD"),
    ],
)
async def test_a_method_that_is_not_there_names_those_that_are(
    gateway: Gateway, method: str, path: str, allowed: str
) -> None:
    """405 with ``Allow``."""
    answer = await gateway.ask(method, path)
    assert (answer.status, answer.headers["Allow"], allowed in answer.detail) == (405, allowed, True)


async def test_head_is_a_get_without_its_body(streaming: Gateway) -> None:
    """On each route but the stream: status and headers are the same, and the connection goes on behind it."""
    destination = await streaming.make_destination(enabled=False)
    assert (await streaming.post(event())).status == 202
    fleeting = {"Date", "X-Request-ID", "RateLimit", "Content-Length", "Transfer-Encoding"}
    for route in ROUTES:
        if route.method == "GET" and route.media_type != "text/event-stream":
            path = route.path.replace("{id}", destination)
            for query in ("", "?format=ndjson") if route.downloads else ("",):
                head, got = [await streaming.ask(method, path + query) for method in ("HEAD", "GET")]
                assert (head.status, head.body, got.status) == (200, b"", 200), path
                shown = [
                    {name: value for name, value in answer.headers.items() if name not in fleeting}
                    for answer in (head, got)
                ]
                assert shown[0] == shown[1], path
    assert (await streaming.ask("HEAD", f"{SIEM}/stream")).status == 405


@pytest.mark.parametrize("body", [b"", b"x", b"[]", b"1", b"null", b'"x"', b'{"a":', b"{}{}", b"\xff", b"[" * 5000])
async def test_a_body_that_is_no_object_is_refused(gateway: Gateway, body: bytes) -> None:
    """400 on each route that takes one; an empty body counts only where one may be left out."""
    destination = await gateway.make_destination()
    routes = [("POST", SIEM), ("PUT", f"{SIEM}/{destination}"), ("POST", f"{SIEM}/test"), ("POST", "/v1/audit/keys")]
    if body:
        routes.append(("POST", f"{SIEM}/{destination}/test"))
    for method, path in routes:
        answer = await gateway.ask(method, path, data=body)
        assert (answer.status, answer.detail) == (400, "the body must be one JSON object"), path


async def test_what_a_caller_gets_to_see_of_each_fault() -> None:
    """The status that stands for it, with Retry-After where coming again helps, and fields where there are some."""
    faults: list[tuple[GatewayError, int, str | None, list[str]]] = [
        (RequestRejected("no", errors=(("name", "is too long"), ("x", "is unknown"))), 422, None, ["name", "x"]),
        (RequestRejected("no", status=400), 400, None, []),
        (QueueFull("full", retry_after_s=5.0), 429, "5", []),
        (QueueUnavailable("disk", retry_after_s=7.0), 503, "7", []),
        (NotFound("no such thing"), 404, None, []),
        (Conflict("is there"), 409, None, []),
        (EgressBlocked("not there"), 422, None, ["endpoint"]),
        (StoreUnavailable("away"), 503, "5", []),
        (LogCorrupt("rotten"), 500, None, []),
        (ConnectFailed("refused"), 500, None, []),
    ]
    for fault, status, retry_after, fields in faults:
        told = answer_to(fault)
        answer = Answer(told.status, {"Content-Type": told.media_type, **told.headers}, told.body)
        assert (answer.problem["status"], answer.headers.get("Retry-After")) == (status, retry_after)
        assert list(answer.errors()) == fields


async def test_a_fault_of_ours_shows_nothing_of_the_inside(
    gateway: Gateway, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """500 without a stack trace; the log has it, with the request's id, and the answer has that id."""

    async def broken(*_: object) -> None:
        raise RuntimeError("secret inside of /var/lib")

    monkeypatch.setattr(WalQueue, "append", broken)
    monkeypatch.setattr(WalQueue, "add_consumer", broken)
    whole = await gateway.ask("POST", SIEM, json=WEBHOOK)
    for answer in (whole, await gateway.post(event())):
        assert (answer.status, answer.detail) == (500, "the gateway could not do this; its log says why")
        assert b"secret" not in answer.body
        assert b"Traceback" not in answer.body
    log = capsys.readouterr().out
    assert log.count("request.failed") == 2
    assert "secret inside" in log
    assert whole.headers["X-Request-Id"] in log


async def test_a_store_that_is_away_is_a_503(gateway: Gateway, monkeypatch: pytest.MonkeyPatch) -> None:
    """Changes are to be tried again later; reading and taking events go on."""
    destination = await gateway.make_destination()

    async def away(*_: object, **__: object) -> None:
        raise StoreUnavailable("the database does not answer")

    for name in ("create_destination", "update_destination", "create_key", "delete_key"):
        monkeypatch.setattr(SqliteStore, name, away)
    for method, path, body in (
        ("POST", SIEM, WEBHOOK),
        ("PUT", f"{SIEM}/{destination}", {"name": "x"}),
        ("DELETE", f"{SIEM}/{destination}", None),
        ("POST", "/v1/audit/keys", {"scopes": ["siem:read"]}),
    ):
        answer = await gateway.ask(method, path, json=body)
        assert (answer.status, int(answer.headers["Retry-After"]) > 0) == (503, True), path
        assert "does not answer" in answer.detail
    assert (await gateway.show(destination))["id"] == destination
    assert (await gateway.post(event())).status == 202


async def test_every_answer_has_a_request_id_and_is_not_kept_by_browsers(gateway: Gateway) -> None:
    """A given id comes back when it is a plain one, another is made otherwise; answers under /v1 are not cached."""
    for path in (SIEM, "/healthz", "/nowhere", "/openapi.json"):
        answer = await gateway.ask("GET", path)
        assert len(answer.headers["X-Request-Id"]) == 32
        assert answer.headers["X-Content-Type-Options"] == "nosniff"
        assert answer.headers.get("Cache-Control") == ("no-store" if path.startswith("/v1/") else None)
    for given, kept in (("req-1.a:B_2", True), ("x" * 128, True), ("x" * 129, False), ("a b", False), ("é", False)):
        answer = await gateway.ask("GET", "/healthz", headers={"X-Request-Id": given})
        assert (answer.headers["X-Request-Id"] == given) is kept


async def test_no_answer_shows_a_secret(gateway: Gateway, capsys: pytest.CaptureFixture[str]) -> None:
    """Neither a credential nor a key is in an answer, a metric or a log line, whatever is done with them."""
    token = "Very-Secret-Token-0123456789"
    given = {**WEBHOOK, "secret": token}
    path = f"{SIEM}/{(await gateway.ask('POST', SIEM, json=given)).json['id']}"
    answers = [
        await gateway.ask("GET", path),
        await gateway.ask("GET", SIEM),
        await gateway.ask("PUT", path, json={"secret": token + "\n", "endpoint": "x://"}),
        await gateway.ask("PUT", path, json={"secret": [token]}),
        await gateway.ask("PUT", path, json={"credentials": {"secret": token}, "secret": token + "x"}),
        await gateway.ask("POST", SIEM, json={**given, "options": {"headers": {"X-Truthlocks-Signature": "x"}}}),
        await gateway.ask("POST", f"{path}/test"),
        await gateway.ask("POST", f"{SIEM}/test", json=given),
        await gateway.ask("GET", f"{path}/attempts"),
        await gateway.ask("GET", "/metrics"),
        await gateway.ask("GET", "/v1/audit/keys"),
        await gateway.ask("GET", SIEM, key=token),
    ]
    assert {answer.status for answer in answers} == {200, 401, 422}
    shown = b"".join(answer.body + json.dumps(dict(answer.headers)).encode() for answer in answers)
    written = capsys.readouterr()
    for secret in (token, OPERATOR):
        assert secret.encode() not in shown
        assert secret not in written.out + written.err


@pytest.mark.parametrize(
    ("request_bytes", "status"),
    [
        (b"nonsense\r\n\r\n", 400),
        (b"GET /healthz HTTP/1.1\r\nHost: a\r\nX: " + b"y" * 20_000 + b"\r\n\r\n", 431),
        (b"GET /" + b"y" * 20_000 + b" HTTP/1.1\r\nHost: a\r\n\r\n", 431),
        (b"POST /v1/audit/events HTTP/1.1\r\nHost: a\r\nContent-Length: -1\r\n\r\n", 400),
        (b"POST /v1/audit/events HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n", 400),
    ],
)
async def test_what_is_no_http_is_a_problem_and_shows_nothing_of_the_inside(
    gateway: Gateway, request_bytes: bytes, status: int
) -> None:
    """Broken framing, endless header lines: the connection is closed behind the answer."""
    reader, writer = await asyncio.open_connection("127.0.0.1", gateway.port)
    writer.write(request_bytes)
    async with asyncio.timeout(10):
        answer = await reader.read()
    writer.close()
    head, _, body = answer.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 %d " % status)
    assert b"Content-Type: application/problem+json" in head
    assert json.loads(body)["status"] == status
    assert b"Traceback" not in answer
    assert b".py" not in answer
    assert (await gateway.ask("POST", "/v1/audit/events", data=event(), headers=NDJSON)).status == 202
