"""The gateway's HTTP API as the commands use it.

Answers stay the JSON that the gateway sent, so that ``--json`` prints it unchanged. Whatever goes wrong is raised as
``CommandError`` with one line; nothing is repeated here.
"""

from __future__ import annotations

import io
import os
import ssl
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import quote

import aiohttp
import msgspec

from gateway.cli.connection import Connection, connection
from gateway.cli.failure import CommandError, WrongUse

Json = dict[str, Any]

DESTINATIONS = "/v1/audit/siem"
EVENTS = "/v1/audit/events"
KEYS = "/v1/audit/keys"
_ANSWER_S = 60.0
_PAGE_MAX = 1_000  # the most that the gateway gives at once


class Answer(msgspec.Struct, frozen=True):
    """``body`` is the decoded JSON, or a dictionary with ``detail`` where something else came back."""

    status: int
    body: Any
    retry_after_s: float


class Client:
    def __init__(self, session: aiohttp.ClientSession, target: Connection) -> None:
        self._session = session
        self._target = target

    async def get(self, path: str, query: Mapping[str, str] | None = None) -> Json:
        return await self._json("GET", path, query=query)

    async def post(self, path: str, body: object = None, *, answer_s: float = _ANSWER_S) -> Json:
        return await self._json("POST", path, content=msgspec.json.encode(body), answer_s=answer_s)

    async def put(self, path: str, body: object) -> Json:
        return await self._json("PUT", path, content=msgspec.json.encode(body))

    async def delete(self, path: str, query: Mapping[str, str] | None = None, *, answer_s: float = _ANSWER_S) -> Json:
        return await self._json("DELETE", path, query=query, answer_s=answer_s)

    async def post_events(self, path: str, body: bytes) -> Answer:
        """NDJSON. 202, 207, 400, 429 and 503 come back as answers; everything else is raised."""
        answer = await self.send("POST", path, content=body, content_type="application/x-ndjson")
        if answer.status not in {202, 207, 400, 429, 503}:
            raise CommandError(self._refusal(answer))
        return answer

    async def pages(self, path: str, query: Mapping[str, str], *, limit: int | None = None) -> list[Json]:
        """The members of a list, page by page, up to ``limit``."""
        if limit is not None:
            query = {**query, "limit": str(min(limit, _PAGE_MAX))}
        found: list[Json] = []
        cursor: str | None = None
        while True:
            page = await self.get(path, {**query, **({"cursor": str(cursor)} if cursor is not None else {})})
            found += page.get("data", [])
            cursor = page.get("next_cursor")
            if cursor is None or (limit is not None and len(found) >= limit):
                return found[:limit]

    async def destination_path(self, reference: str) -> str:
        """The route of a destination that is given by its id or by its name."""
        if reference.startswith("siem_"):
            return f"{DESTINATIONS}/{quote(reference, safe='')}"
        named = [entry for entry in await self.pages(DESTINATIONS, {}) if entry.get("name") == reference]
        if len(named) != 1:
            if named:
                ids = ", ".join(entry["id"] for entry in named)
                raise CommandError(f"{len(named)} destinations are called {reference!r}, name one by its id: {ids}.")
            raise CommandError(f"No destination is called {reference!r}. `gateway destinations list` shows them all.")
        return f"{DESTINATIONS}/{quote(named[0]['id'], safe='')}"

    async def send(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, str] | None = None,
        content: bytes | None = None,
        content_type: str = "application/json",
        answer_s: float = _ANSWER_S,
    ) -> Answer:
        """One request, whatever its status. Raises CommandError when no HTTP answer came back."""
        headers = {"X-API-Key": self._target.key} if self._target.key else {}
        if content is not None:
            headers["Content-Type"] = content_type
        place = self._target.socket or self._target.url
        try:
            async with self._session.request(
                method,
                self._target.url + path,
                params=query,
                data=io.BytesIO(content) if content else None,  # aiohttp writes a file piece by piece
                headers=headers,
                allow_redirects=False,
                timeout=aiohttp.ClientTimeout(total=None, sock_connect=10, sock_read=answer_s),
            ) as response:
                return Answer(response.status, _decode(await response.read()), _retry_after(response.headers))
        except aiohttp.ClientSSLError as error:
            raise CommandError(
                f"No trusted connection to {place} ({_tls_reason(error)}). Set GATEWAY_CA_FILE to its authority, and "
                "GATEWAY_CLIENT_CERTIFICATE where it asks for one."
            ) from error
        except aiohttp.ClientConnectorError as error:
            number = error.os_error.errno
            reason = os.strerror(number) if number and number > 0 else "the name is not known"
            raise CommandError(
                f"No gateway answers at {place} ({reason}). Start one with `gateway serve`, or set GATEWAY_URL."
            ) from error
        except TimeoutError as error:
            raise CommandError(f"The gateway at {place} did not answer within {answer_s:g} s.") from error
        except aiohttp.InvalidURL as error:
            raise WrongUse(f"GATEWAY_URL is no address: {place}") from error
        except (aiohttp.ClientError, OSError) as error:
            raise CommandError(f"The connection to {place} broke ({type(error).__name__}).") from error

    async def _json(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, str] | None = None,
        content: bytes | None = None,
        answer_s: float = _ANSWER_S,
    ) -> Json:
        answer = await self.send(method, path, query=query, content=content, answer_s=answer_s)
        if answer.status >= 300:
            raise CommandError(self._refusal(answer))
        return answer.body if isinstance(answer.body, dict) else {"data": answer.body}

    def _refusal(self, answer: Answer) -> str:
        if answer.status == 401 and not self._target.key:
            return (
                "No API key was given: set GATEWAY_API_KEY, or GATEWAY_DATA_DIR to the data directory of a gateway "
                "on this machine."
            )
        body = answer.body if isinstance(answer.body, dict) else {}
        detail = str(body.get("detail") or body.get("title") or "no reason given").rstrip(".")
        if answer.status == 401:
            return f"The gateway does not accept the API key (401): {detail}. Set GATEWAY_API_KEY to a valid key."
        more = "; ".join(fault for fault in problems(body) if fault.partition(": ")[2] not in detail)
        return f"The gateway refused ({answer.status}): {detail}" + (f" ({more})" if more else ".")


@asynccontextmanager
async def open_client() -> AsyncIterator[Client]:
    """A client of the gateway that the environment names."""
    target = connection(os.environ)
    connector = aiohttp.UnixConnector(target.socket) if target.socket else aiohttp.TCPConnector(ssl=_tls(target))
    async with aiohttp.ClientSession(connector=connector) as session:
        yield Client(session, target)


def _tls(target: Connection) -> ssl.SSLContext | bool:
    """Raises WrongUse when a file cannot be used."""
    if not target.ca_file and not target.certificate_file:
        return True
    try:
        context = ssl.create_default_context(cafile=target.ca_file or None)
        if target.certificate_file:
            context.load_cert_chain(target.certificate_file)
    except OSError as error:  # ssl.SSLError is one
        reason = error.strerror if not isinstance(error, ssl.SSLError) else "they are not in PEM form"
        raise WrongUse(f"GATEWAY_CA_FILE or GATEWAY_CLIENT_CERTIFICATE cannot be used: {reason}") from error
    return context


def _tls_reason(error: aiohttp.ClientSSLError) -> str:
    cause = getattr(error, "certificate_error", None) or error.os_error
    return str(getattr(cause, "verify_message", None) or getattr(cause, "reason", None) or "handshake failed")


def problems(body: object) -> list[str]:
    """The single faults of a problem document, each as ``field: message`` or ``line 3: message``."""
    errors = body.get("errors") if isinstance(body, dict) else None
    found = []
    for error in errors or []:
        place = error.get("field") or (f"line {error['line']}" if "line" in error else "")
        found.append(f"{place}: {error.get('message', '')}" if place else str(error.get("message", "")))
    return found


def _decode(content: bytes) -> object:
    if not content:
        return {}
    try:
        return msgspec.json.decode(content)
    except msgspec.DecodeError:
        return {"detail": content[:200].decode("utf-8", "replace")}


def _retry_after(headers: Mapping[str, str]) -> float:
    text = headers.get("Retry-After", "")
    return float(text) if text.isascii() and text.isdigit() else 1.0
