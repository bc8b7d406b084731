"""An answer before it is on any wire: the same value, whichever way the request came in."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import msgspec
from aiohttp import web

_NO_HEADERS: Mapping[str, str] = {}


class Answer(NamedTuple):
    status: int
    body: bytes
    media_type: str = "application/json"
    headers: Mapping[str, str] = _NO_HEADERS

    def response(self) -> web.Response:
        return web.Response(status=self.status, body=self.body, content_type=self.media_type, headers=self.headers)


def told(value: object, status: int) -> Answer:
    return Answer(status, msgspec.json.encode(value))
