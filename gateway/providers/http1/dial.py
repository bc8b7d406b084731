"""New connections: the name is resolved, the address judged, the socket connected and secured."""

from __future__ import annotations

import asyncio
import socket
import ssl
from ipaddress import ip_address

from aiohappyeyeballs import start_connection
from yarl import URL

from gateway.config import Egress
from gateway.providers.egress import GuardedResolver, Lookup, SocketPlace, guarded_socket, literal_address, place_of
from gateway.providers.faults import NotConnected, NotConnectedInTime, NotResolved, UnusualHost
from gateway.providers.http1.connection import Connection
from gateway.providers.tls import Security, tls_context
from gateway.providers.trace import Trace, certificate_of

_NEXT_ADDRESS_S = 0.25  # the next address of a name is tried when one has not answered for so long


class Dialler:
    """Opens the connections of one destination, all behind the guard: its addresses and its sockets."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        policy: Egress,
        lookup: Lookup,
        *,
        tls: ssl.SSLContext | None,
        connect_timeout_s: float,
        trace: Trace | None,
    ) -> None:
        self._loop = loop
        self._resolver = GuardedResolver(policy, lookup, timeout_s=connect_timeout_s)
        self._make_socket = guarded_socket(policy)
        self._tls = tls
        self._connect_timeout_s = connect_timeout_s
        self._trace = trace
        self._under_way: set[asyncio.Timeout] = set()

    async def dial(self, connection: Connection, url: URL, security: Security | None, *, timeout_s: float) -> None:
        """Connect within ``timeout_s``, else TimeoutError, and within the time for connecting, else NotConnectedInTime.

        Raises UnusualHost, NotResolved, NotConnected, EgressBlocked and ssl.SSLError too.
        """
        began_s = self._loop.time()
        async with asyncio.timeout(timeout_s) as limit:
            self._under_way.add(limit)
            try:
                places = await self._places(url)
                await self._connect_in_time(connection, url, security, places, began_s)
            finally:
                self._under_way.discard(limit)

    def close(self) -> None:
        """Connections that are being made run out of time."""
        for limit in tuple(self._under_way):
            if not limit.expired():
                limit.reschedule(self._loop.time())

    async def _places(self, url: URL) -> list[SocketPlace]:
        host, port = url.raw_host or "", url.port or 0
        if literal_address(host) is not None:
            return [_literal_place(host, port)]
        began_s = self._loop.time()
        trace = self._wanted_trace()
        if trace is not None:
            trace.resolving_failed = True
        try:
            places = await self._resolver.resolve(host, port)
        except (OSError, UnicodeError) as error:  # a label that is too long is a UnicodeError
            raise NotResolved(str(error)) from error
        if trace is not None:
            trace.resolving_failed, trace.resolved_ms = False, self._since_ms(began_s)
        return places

    async def _connect_in_time(
        self, connection: Connection, url: URL, security: Security | None, places: list[SocketPlace], began_s: float
    ) -> None:
        connecting_s = self._loop.time()
        try:
            async with asyncio.timeout_at(began_s + self._connect_timeout_s):
                await self._connect(connection, url, security, places)
        except TimeoutError as error:
            raise NotConnectedInTime from error
        trace = self._wanted_trace()
        if trace is not None:
            trace.connected_ms = self._since_ms(connecting_s)
            trace.certificate = certificate_of(connection.transport)

    async def _connect(
        self, connection: Connection, url: URL, security: Security | None, places: list[SocketPlace]
    ) -> None:
        try:
            made = await start_connection(
                places, happy_eyeballs_delay=_NEXT_ADDRESS_S, loop=self._loop, socket_factory=self._make_socket
            )
            await self._take_up(made, connection, url, security)
        except ssl.SSLError:
            raise
        except OSError as error:
            raise NotConnected(error) from error

    async def _take_up(self, made: socket.socket, connection: Connection, url: URL, security: Security | None) -> None:
        try:
            if url.scheme != "https":
                await self._loop.create_connection(lambda: connection, sock=made)
                return
            name = (security.server_name if security is not None else None) or (url.raw_host or "").rstrip(".")
            context = await self._context(security)
            await self._loop.create_connection(lambda: connection, sock=made, ssl=context, server_hostname=name)
        except BaseException:
            connection.close()
            made.close()  # the loop does so only where it has come to take it
            raise

    async def _context(self, security: Security | None) -> ssl.SSLContext:
        if security is not None:
            return security.context
        if self._tls is None:
            self._tls = await self._loop.run_in_executor(None, tls_context)
        return self._tls

    def _wanted_trace(self) -> Trace | None:
        """Of the first connection alone."""
        return self._trace if self._trace is not None and self._trace.connected_ms is None else None

    def _since_ms(self, began_s: float) -> float:
        return round((self._loop.time() - began_s) * 1000, 3)


def _literal_place(host: str, port: int) -> SocketPlace:
    """An address that only a resolver could read is refused: it might read another one than the guard did."""
    try:
        ip_address(host)
    except ValueError:
        raise UnusualHost from None
    return place_of(host, port)
