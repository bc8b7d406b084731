"""Faults as answers: ``application/problem+json`` (RFC 9457), without stack trace, secret or internal address."""

from __future__ import annotations

import re
import secrets
from collections.abc import Awaitable, Callable, Sequence
from http import HTTPStatus

import msgspec
import structlog
from aiohttp import web

from gateway.errors import (
    Conflict,
    CredentialsSealed,
    EgressBlocked,
    GatewayError,
    NotFound,
    Overloaded,
    QueueFull,
    RequestRejected,
    StoreUnavailable,
)
from gateway.server.answers import Answer
from gateway.telemetry import Event

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

REQUEST_ID = web.RequestKey("request_id", str)  # its name, in a request that is being served
_REQUEST_ID = re.compile(r"[A-Za-z0-9._:-]{1,128}")
_STORE_RETRY_AFTER_S = 5
_DISK_RETRY_AFTER_S = 5
_INSIDE = "the gateway could not do this; its log says why"


class ProblemEntry(msgspec.Struct, frozen=True, kw_only=True):
    """One of the things that are wrong: with a field, or with a line (``id`` is then the event's, if readable)."""

    field: str | msgspec.UnsetType = msgspec.UNSET
    line: int | msgspec.UnsetType = msgspec.UNSET
    id: str | msgspec.UnsetType | None = msgspec.UNSET
    message: str


class Problem(msgspec.Struct, frozen=True):
    """``type`` is ``about:blank`` throughout: status and detail say it all."""

    type: str
    title: str
    status: int
    detail: str
    errors: list[ProblemEntry] | msgspec.UnsetType = msgspec.UNSET


def problem(
    status: int,
    detail: str,
    *,
    errors: Sequence[ProblemEntry] = (),
    headers: dict[str, str] | None = None,
) -> web.Response:
    return problem_answer(status, detail, errors=errors, headers=headers).response()


def problem_answer(
    status: int,
    detail: str,
    *,
    errors: Sequence[ProblemEntry] = (),
    headers: dict[str, str] | None = None,
) -> Answer:
    title = HTTPStatus(status).phrase
    body = Problem("about:blank", title, status, detail, list(errors) if errors else msgspec.UNSET)
    return Answer(status, msgspec.json.encode(body), "application/problem+json", headers or {})


def answer_to(error: GatewayError) -> Answer:
    """The answer that a fault becomes."""
    match error:
        case RequestRejected():
            fields = [ProblemEntry(field=field, message=message) for field, message in error.errors]
            return problem_answer(error.status, error.detail, errors=fields)
        case QueueFull():
            return problem_answer(429, str(error), headers={"Retry-After": str(int(error.retry_after_s))})
        case Overloaded():
            return problem_answer(503, str(error), headers={"Retry-After": str(int(error.retry_after_s))})
        case NotFound():
            return problem_answer(404, str(error))
        case Conflict() | CredentialsSealed():
            return problem_answer(409, str(error))
        case EgressBlocked():
            return problem_answer(422, str(error), errors=[ProblemEntry(field="endpoint", message=str(error))])
        case StoreUnavailable():
            return problem_answer(503, str(error), headers={"Retry-After": str(_STORE_RETRY_AFTER_S)})
        case _:
            return problem_answer(500, _INSIDE)


def answer_to_any(error: Exception, **where: str) -> Answer:
    """The answer that an exception becomes; one that nobody foresaw goes to the log, with ``where`` it happened."""
    if isinstance(error, GatewayError):
        answer = answer_to(error)
        if answer.status != 500:
            return answer
    elif isinstance(error, OSError):
        retry = {"Retry-After": str(_DISK_RETRY_AFTER_S)}
        answer = problem_answer(503, "the disk of the data directory fails; the log says how", headers=retry)
    else:
        answer = problem_answer(500, _INSIDE)
    structlog.get_logger().error(Event.REQUEST_FAILED, exc_info=error, **where)
    return answer


def plain_request_id(given: str) -> str:
    """The caller's own where it is a plain one, else nothing."""
    return given if _REQUEST_ID.fullmatch(given) else ""


@web.middleware
async def problems_middleware(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Turn faults into problems, and give every answer its request id and the headers that browsers heed."""
    name = plain_request_id(request.headers.get("X-Request-Id", "")) or secrets.token_hex(16)
    request[REQUEST_ID] = name
    response = await _answered(request, handler, name)
    if not response.prepared:
        dress(response, name, request.path)
    return response


def dress(response: web.StreamResponse, name: str, path: str) -> None:
    """``name`` is the request's id."""
    response.headers["X-Request-Id"] = name
    response.headers["X-Content-Type-Options"] = "nosniff"
    if path.startswith("/v1/"):
        response.headers["Cache-Control"] = "no-store"


async def _answered(request: web.Request, handler: Handler, name: str) -> web.StreamResponse:
    try:
        return await handler(request)
    except web.HTTPException as error:
        return _of_framework(request, error)
    except (ConnectionError, TimeoutError):
        raise
    except Exception as error:  # noqa: BLE001 - the last line: no fault of ours may end as a stack trace at a caller
        return answer_to_any(error, request_id=name, method=request.method, path=request.path).response()


def _of_framework(request: web.Request, error: web.HTTPException) -> web.Response:
    """What aiohttp itself refuses: no such route, no such method, too large."""
    if isinstance(error, web.HTTPMethodNotAllowed):
        allowed = ", ".join(sorted(error.allowed_methods))
        text = f"{request.method} is not possible here; {allowed} is"
        return problem(405, text, headers={"Allow": allowed})
    if error.status == 404:
        return problem(404, "there is no such route; /openapi.json lists them all")
    if error.status < 400:
        raise error
    return problem(error.status, error.text or HTTPStatus(error.status).phrase)
