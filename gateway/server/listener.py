"""The port: accepts connections for the front, and hands aiohttp those that are its own."""

from __future__ import annotations

import asyncio
import resource
import ssl
from collections.abc import Callable
from functools import partial

from aiohttp import web

from gateway.config import Server, TcpAddress, UnixAddress
from gateway.server.call import PARTS
from gateway.server.front.connection import Connection
from gateway.server.front.front import Front
from gateway.server.handler import ApiHandler

_BACKLOG = 1024
_SHUTDOWN_S = 5.0
_OTHER_FILES = 1024  # that the process may have open beside its connections: the queue's, and those to destinations
_FILES_WHERE_NO_LIMIT = 1 << 16


class Listener:
    """Make it inside the event loop; ``start`` opens the port, ``stop`` ends everything that came through it."""

    def __init__(self, app: web.Application, settings: Server) -> None:
        self._runner = web.AppRunner(app, access_log=None, handle_signals=False, shutdown_timeout=_SHUTDOWN_S)
        self._settings = settings
        self._parts = app[PARTS]
        self._front: Front | None = None
        self._server: asyncio.Server | None = None

    async def start(self, address: TcpAddress | UnixAddress, tls: ssl.SSLContext | None = None) -> str:
        """Where it listens: ``http://HOST:PORT``, with ``tls`` ``https://HOST:PORT``, or ``unix:PATH``. Raises
        OSError.
        """
        connections_max = min(self._settings.connections_max, connections_for(allow_many_files()))
        await self._runner.setup()
        self._front = front = Front(self._parts, self._make_handler, connections_max=connections_max)
        loop = asyncio.get_running_loop()
        connection = partial(Connection, front)
        if isinstance(address, UnixAddress):
            self._server = await loop.create_unix_server(connection, address.path, backlog=_BACKLOG)
            return f"unix:{address.path}"
        self._server = await loop.create_server(
            connection,
            address.host,
            address.port,
            backlog=_BACKLOG,
            ssl=tls,
            ssl_handshake_timeout=None if tls is None else self._settings.head_timeout_s,
        )
        host, port = self._server.sockets[0].getsockname()[:2]
        shown = address.host if address.port else host
        scheme = "http" if tls is None else "https"
        return f"{scheme}://[{shown}]:{port}" if ":" in shown else f"{scheme}://{shown}:{port}"

    async def stop(self) -> None:
        """Take no more connections, answer what is under way, end. Cancelled: what is left is cut off."""
        if self._server is not None:
            self._server.close()
        async with asyncio.TaskGroup() as group:
            if self._front is not None:
                group.create_task(self._front.stop())
            group.create_task(self._runner.cleanup())

    def _make_handler(self, on_lost: Callable[[], None]) -> ApiHandler:
        server = self._runner.server
        assert server is not None
        settings = self._settings
        return ApiHandler(server, on_lost, keep_alive_s=settings.keep_alive_s, unread_s=settings.body_timeout_s)


def allow_many_files() -> int:
    """Every connection is an open file: have as many as the system lets this process have. Returns how many."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = _FILES_WHERE_NO_LIMIT if hard == resource.RLIM_INFINITY else hard
    if soft == resource.RLIM_INFINITY or soft >= wanted:
        return max(soft, wanted)
    resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
    return wanted


def connections_for(files: int) -> int:
    """How many there may be, so that the queue always finds a file for itself, whoever connects."""
    return max(1, files - min(_OTHER_FILES, files // 2))
