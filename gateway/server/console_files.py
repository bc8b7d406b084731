"""The web console: the files of ``console/``, served as they are. What they call carries a key; they need none.

The page routes itself: every path below ``/console/`` that is no file is the page. Files are read once, when the first
is asked for, and found by name in what was read: no request reaches the file system.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType

import msgspec
from aiohttp import web

FOLDER = Path(__file__).with_name("console")
PAGE = "index.html"
CONTENT_SECURITY_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)

_HEADERS = MappingProxyType(
    {
        "Content-Security-Policy": CONTENT_SECURITY_POLICY,
        "X-Content-Type-Options": "nosniff",
        "Referrer-Policy": "no-referrer",
        "Cross-Origin-Opener-Policy": "same-origin",
        "Cache-Control": "no-cache",  # kept, and asked for by its ETag each time
    }
)
_TYPES = MappingProxyType(
    {
        ".css": "text/css; charset=utf-8",
        ".html": "text/html; charset=utf-8",
        ".js": "text/javascript; charset=utf-8",
        ".json": "application/json",
        ".md": "text/plain; charset=utf-8",
        ".png": "image/png",
        ".svg": "image/svg+xml",
        ".txt": "text/plain; charset=utf-8",
        ".woff2": "font/woff2",
    }
)


class ConsoleFile(msgspec.Struct, frozen=True):
    content: bytes
    content_type: str
    etag: str


def read_files(folder: Path = FOLDER) -> dict[str, ConsoleFile]:
    """By path below the folder, with slashes. Blocks."""
    found = {}
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            content = path.read_bytes()
            found[path.relative_to(folder).as_posix()] = ConsoleFile(
                content, _TYPES.get(path.suffix, "application/octet-stream"), hashlib.sha256(content).hexdigest()[:32]
            )
    return found


def add_console(app: web.Application) -> None:
    console = _Console()
    app.router.add_get("/", _to_console)
    app.router.add_get("/console", _to_console)
    app.router.add_get("/console/{path:.*}", console.show)


class _Console:
    def __init__(self) -> None:
        self._files: Mapping[str, ConsoleFile] | None = None

    async def show(self, request: web.Request) -> web.Response:
        if self._files is None:
            self._files = await asyncio.to_thread(read_files)
        file = self._files.get(request.match_info["path"]) or self._files[PAGE]
        headers = {**_HEADERS, "ETag": f'"{file.etag}"'}
        if any(tag.value in (file.etag, "*") for tag in request.if_none_match or ()):
            return web.Response(status=304, headers=headers)
        return web.Response(body=file.content, headers={**headers, "Content-Type": file.content_type})


async def _to_console(_: web.Request) -> web.Response:
    return web.Response(status=302, headers={"Location": "/console/"})
