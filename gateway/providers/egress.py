"""Which addresses destinations may reach: every endpoint is user input, and the gateway stands inside a network.

An address is judged when it has been resolved, and the judged address is the one that is connected to, so that a name
which changes between two look-ups (DNS rebinding) gains nothing. It is judged once more where the socket is made: that
is the one way out, whatever the library in between takes for an address. The lists are explicit because Python's
``is_global`` lets several non-public ranges through.
"""

from __future__ import annotations

import asyncio
import errno
import functools
import socket
from collections.abc import Awaitable, Callable
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import Any

from yarl import URL

from gateway.config import Egress
from gateway.errors import EgressBlocked

Address = IPv4Address | IPv6Address
Lookup = Callable[[str, int, socket.AddressFamily], Awaitable[list[str]]]
SocketPlace = tuple[int, int, int, str, tuple[Any, ...]]  # as getaddrinfo gives it

BLOCKED_V4 = tuple(
    map(
        IPv4Network,
        (
            "0.0.0.0/8",  # this network
            "10.0.0.0/8",
            "100.64.0.0/10",  # carrier-grade NAT; holds the metadata service of one cloud
            "127.0.0.0/8",
            "168.63.129.16/32",  # Azure's host channel, by its number a public address
            "169.254.0.0/16",  # link-local; the metadata service of most clouds
            "172.16.0.0/12",
            "192.0.0.0/24",  # protocol assignments; the metadata service of one cloud
            "192.0.2.0/24",  # documentation
            "192.88.99.0/24",  # 6to4 relays
            "192.168.0.0/16",
            "198.18.0.0/15",  # benchmarks
            "198.51.100.0/24",  # documentation
            "203.0.113.0/24",  # documentation
            "224.0.0.0/4",  # multicast
            "240.0.0.0/4",  # reserved, broadcast
        ),
    )
)

# Only these are handed out to hosts of the public internet; what lies outside (loopback, link-local, unique local,
# multicast, NAT64, IPv4-compatible …) is blocked without being listed.
GLOBAL_UNICAST_V6 = IPv6Network("2000::/3")

BLOCKED_V6 = tuple(
    map(
        IPv6Network,
        (
            "2001::/23",  # protocol assignments; Teredo, which embeds IPv4
            "2001:db8::/32",  # documentation
            "2002::/16",  # 6to4, which embeds IPv4
            "3fff::/20",  # documentation
        ),
    )
)

NAT64 = IPv6Network("64:ff9b::/96")
IPV4_COMPATIBLE = IPv6Network("::/96")

_REMEDY = "the operator can permit it with egress.allow_private or egress.allow_networks"


def permitted(address: Address, policy: Egress) -> bool:
    """Whether a destination may be at this address. IPv4-mapped IPv6 is judged as the IPv4 it stands for.

    An IPv6 address through which a gateway on the way reaches an IPv4 one (NAT64, 6to4, Teredo) is forbidden unless the
    operator lists its network, and even then what it leads to must be permitted by itself.
    """
    if policy.allow_private:
        return True
    address = _unmapped(address)
    if any(address in network for network in _networks(policy.allow_networks)):
        return all(permitted(embedded, policy) for embedded in _embedded(address))
    if isinstance(address, IPv4Address):
        return not any(address in network for network in BLOCKED_V4)
    return address in GLOBAL_UNICAST_V6 and not any(address in network for network in BLOCKED_V6)


def check_url(url: str, policy: Egress) -> URL:
    """What can be said about an endpoint before its name is resolved: when it is saved, and before each attempt.

    Returns what is to be connected to, with the very host that was judged; path and query as they are. Raises
    EgressBlocked for a scheme that is not allowed, and for a host that is a forbidden address in any spelling.
    """
    try:
        parsed = URL(url)
        host = parsed.raw_host or ""
    except ValueError:
        raise EgressBlocked("the endpoint is not a web address; use https://host/path") from None
    if parsed.scheme != "https" and not (parsed.scheme == "http" and policy.allow_http):
        raise EgressBlocked(_scheme_message(parsed.scheme))
    if parsed.user is not None or parsed.password is not None:
        raise EgressBlocked("the endpoint holds a user name or password; use the credential fields")
    name = host.rstrip(".").lower()
    if not name:
        raise EgressBlocked("the endpoint has no host name")
    address = literal_address(name)
    is_local_name = name == "localhost" or name.endswith(".localhost")
    if is_local_name:
        address = IPv4Address("127.0.0.1")
    if address is not None and not permitted(address, policy):
        raise EgressBlocked(f"{host} is an address that destinations may not reach; {_REMEDY}")
    return URL(url, encoded=True).with_host(host)


def literal_address(host: str) -> Address | None:
    """The address that a host spells out, or None for a name.

    Includes the spellings that system resolvers take for IPv4: ``127.1``, ``2130706433``, ``0x7f.1``, ``0177.0.0.1``.
    """
    text = host.strip("[]").rstrip(".").partition("%")[0]
    try:
        return ip_address(text)
    except ValueError:
        pass
    if not text.isascii() or ":" in text or any(character.isspace() for character in text):
        return None
    try:
        return IPv4Address(socket.inet_aton(text))
    except OSError:
        return None


class ForbiddenAddress(PermissionError):
    """An OSError, so that connecting goes on with a name's next address."""


def guarded_socket(policy: Egress) -> Callable[[SocketPlace], socket.socket]:
    """Makes the sockets of connections, and none for a forbidden address: there it raises ForbiddenAddress."""

    def make(place: SocketPlace) -> socket.socket:
        family, kind, protocol, _, where = place
        if not permitted(ip_address(where[0]), policy):
            raise ForbiddenAddress(errno.EPERM, f"an address that destinations may not reach; {_REMEDY}")
        return socket.socket(family, kind, protocol)

    return make


class GuardedResolver:
    """Resolves for the dialler, which connects to the very addresses that this returns.

    Raises EgressBlocked when no address of a name is permitted, OSError when the name does not resolve within
    ``timeout_s``. Forbidden addresses beside permitted ones are left out.
    """

    def __init__(self, policy: Egress, lookup: Lookup, *, timeout_s: float) -> None:
        self._policy = policy
        self._lookup = lookup
        self._timeout_s = timeout_s

    async def resolve(self, host: str, port: int) -> list[SocketPlace]:
        try:
            async with asyncio.timeout(self._timeout_s):
                found = await self._lookup(host, port, socket.AF_UNSPEC)
        except TimeoutError:
            raise OSError(f"no answer within {self._timeout_s:g} s") from None
        reachable = [text for text in found if permitted(ip_address(text), self._policy)]
        if found and not reachable:
            raise EgressBlocked(f"{host} resolves to an address that destinations may not reach; {_REMEDY}")
        if not reachable:
            raise OSError("the name has no address")
        return [place_of(text, port) for text in reachable]


def place_of(address: str, port: int) -> SocketPlace:
    """Where a connection to a numeric address goes."""
    if ":" in address:
        return socket.AF_INET6, socket.SOCK_STREAM, socket.IPPROTO_TCP, "", (address, port, 0, 0)
    return socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP, "", (address, port)


def _unmapped(address: Address) -> Address:
    if isinstance(address, IPv6Address):
        return address.ipv4_mapped or IPv6Address(int(address))  # without its zone
    return address


def _embedded(address: Address) -> tuple[IPv4Address, ...]:
    """The IPv4 addresses that packets to this IPv6 one may end at; of Teredo both the server and the client."""
    if isinstance(address, IPv4Address):
        return ()
    if address in NAT64 or (address in IPV4_COMPATIBLE and int(address) > 1):  # :: and ::1 stand for themselves
        return (IPv4Address(int(address) & 0xFFFF_FFFF),)
    if address.sixtofour is not None:
        return (address.sixtofour,)
    return address.teredo or ()


def _scheme_message(scheme: str) -> str:
    if scheme == "http":
        return "http:// is not allowed for destinations; use https://, or the operator sets egress.allow_http"
    return "destinations are reached over https:// only"


@functools.lru_cache(maxsize=8)
def _networks(texts: tuple[str, ...]) -> tuple[IPv4Network | IPv6Network, ...]:
    return tuple(map(ip_network, texts))
