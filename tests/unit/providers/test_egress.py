"""Which addresses destinations may reach, in every spelling."""

from __future__ import annotations

import asyncio
import socket
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network

import pytest

from gateway.config import Egress
from gateway.errors import EgressBlocked
from gateway.providers.egress import (
    ForbiddenAddress,
    GuardedResolver,
    Lookup,
    check_url,
    guarded_socket,
    literal_address,
    permitted,
)

STRICT = Egress()

FORBIDDEN = [
    "0.0.0.0",  # noqa: S104 - an address to be refused, nothing is bound
    "0.1.2.3",
    "10.0.0.1",
    "100.64.0.1",
    "100.100.100.200",
    "127.0.0.1",
    "127.255.255.254",
    "168.63.129.16",
    "169.254.169.254",
    "172.16.0.1",
    "172.31.255.255",
    "192.0.0.192",
    "192.0.2.1",
    "192.88.99.1",
    "192.168.1.1",
    "198.18.0.1",
    "198.19.255.255",
    "198.51.100.1",
    "203.0.113.1",
    "224.0.0.1",
    "239.255.255.255",
    "240.0.0.1",
    "255.255.255.255",
    "::",
    "::1",
    "::127.0.0.1",
    "::ffff:127.0.0.1",
    "::ffff:169.254.169.254",
    "::ffff:0:127.0.0.1",
    "64:ff9b::7f00:1",
    "64:ff9b::808:808",
    "64:ff9b:1::1",
    "100::1",
    "2001::1",
    "2001:0:7f00:1::",
    "2001:db8::1",
    "2002:7f00:1::",
    "3fff::1",
    "5f00::1",
    "fc00::1",
    "fd00:ec2::254",
    "fe80::1",
    "fe80::1%eth0",
    "fec0::1",
    "ff02::1",
]
# Every block of the list that destinations are held to, IPv6 outside of 2000::/3 among them.
BLOCKS = [
    "0.0.0.0/8",
    "10.0.0.0/8",
    "100.64.0.0/10",
    "127.0.0.0/8",
    "168.63.129.16/32",
    "169.254.0.0/16",
    "172.16.0.0/12",
    "192.0.0.0/24",
    "192.0.2.0/24",
    "192.88.99.0/24",
    "192.168.0.0/16",
    "198.18.0.0/15",
    "198.51.100.0/24",
    "203.0.113.0/24",
    "224.0.0.0/4",
    "240.0.0.0/4",
    "::/3",
    "2001::/23",
    "2001:db8::/32",
    "2002::/16",
    "3fff::/20",
    "4000::/2",
    "8000::/1",
]
PUBLIC = [
    "1.1.1.1",
    "8.8.8.8",
    "168.63.129.15",
    "172.32.0.1",
    "100.128.0.1",
    "192.0.1.1",
    "2606:4700::1111",
    "2a00:1450::1",
    "::ffff:8.8.8.8",
]


def answers(*found: str) -> Lookup:
    async def lookup(host: str, port: int, family: socket.AddressFamily) -> list[str]:
        return list(found)

    return lookup


@pytest.mark.parametrize("address", FORBIDDEN)
def test_forbids_what_is_not_public(address: str) -> None:
    """No list of Python's is trusted: each range that was ever missed there is named."""
    assert not permitted(ip_address(address), STRICT)
    assert permitted(ip_address(address), Egress(allow_private=True))


@pytest.mark.parametrize("block", BLOCKS)
def test_a_blocked_range_is_blocked_from_end_to_end(block: str) -> None:
    """Its first and its last address are forbidden; those before and behind it are, unless another range holds them,
    not.
    """
    network = ip_network(block)
    first, last = network.network_address, network.broadcast_address
    assert not permitted(first, STRICT)
    assert not permitted(last, STRICT)
    others = [other for other in map(ip_network, BLOCKS) if other != network]
    for number in (int(first) - 1, int(last) + 1):
        if 0 <= number < 1 << network.max_prefixlen:
            neighbour = type(first)(number)
            held = any(neighbour in other for other in others if other.version == network.version)
            assert permitted(neighbour, STRICT) is not held, neighbour


@pytest.mark.parametrize("block", BLOCKS)
@pytest.mark.parametrize("end", [0, -1])
def test_a_mapped_spelling_opens_nothing(block: str, end: int) -> None:
    """An IPv4 address in IPv6 clothes is judged as what it is."""
    address = ip_network(block)[end]
    if isinstance(address, IPv4Address):
        assert not permitted(IPv6Address(f"::ffff:{address}"), STRICT)


@pytest.mark.parametrize(
    ("inside", "outside", "network"),
    [
        ("64:ff9b::a9fe:a9fe", "64:ff9b::808:808", "64:ff9b::/96"),
        ("2002:a9fe:a9fe::1", "2002:808:808::1", "2002::/16"),
        ("2001:0:7f00:1:0:0:f7f7:f7f7", "2001:0:808:808:0:0:f7f7:f7f7", "2001::/32"),
        ("2001:0:808:808:0:0:80ff:fffe", "2001:0:808:808:0:0:f7f7:f7f7", "2001::/32"),
        ("::127.0.0.1", "::8.8.8.8", "::/0"),
    ],
)
def test_a_listed_gateway_network_does_not_lead_inside(inside: str, outside: str, network: str) -> None:
    """An operator whose network reaches IPv4 through NAT64 lists its prefix; what it leads to is judged all the same,
    for 6to4, both ends of Teredo and IPv4-compatible addresses too.
    """
    for address in (inside, outside):
        assert not permitted(ip_address(address), STRICT)
    policy = Egress(allow_networks=(network,))
    assert permitted(ip_address(outside), policy)
    assert not permitted(ip_address(inside), policy)


@pytest.mark.parametrize("address", PUBLIC)
def test_permits_what_is_public(address: str) -> None:
    """Neighbours of forbidden ranges are not forbidden with them."""
    assert permitted(ip_address(address), STRICT)


def test_permits_networks_of_the_operator() -> None:
    """A listed network is allowed in addition, IPv4-mapped spellings included; its neighbours are not."""
    policy = Egress(allow_networks=("10.1.0.0/16", "fd12::/16"))
    assert permitted(ip_address("10.1.2.3"), policy)
    assert permitted(ip_address("::ffff:10.1.2.3"), policy)
    assert permitted(ip_address("fd12::1"), policy)
    assert not permitted(ip_address("10.2.0.1"), policy)
    assert not permitted(ip_address("127.0.0.1"), policy)
    assert permitted(ip_address("8.8.8.8"), policy)


@pytest.mark.parametrize(
    "host",
    [
        "127.0.0.1",
        "127.0.0.1.",
        "127.1",
        "127.0.1",
        "2130706433",
        "0x7f000001",
        "0x7f.1",
        "0x7F.0x0.0x0.0x1",
        "0177.0.0.1",
        "017700000001",
        "[::1]",
        "[::ffff:127.0.0.1]",
        "[::ffff:7f00:1]",
        "[fe80::1%25eth0]",
        "[0:0:0:0:0:0:0:1]",
        "127\u30020\u30020\u30021",
        "\uff11\uff12\uff17.0.0.1",
        "\u2460\u2461\u2466.0.0.1",
        "localhost",
        "LOCALHOST",
        "localhost.",
        "x.localhost",
        "169.254.169.254",
        "[fd00:ec2::254]",
        "0",
    ],
)
def test_sees_through_spellings_of_an_address(host: str) -> None:
    """However a forbidden address is written, saving it as an endpoint is refused with the setting that permits it."""
    with pytest.raises(EgressBlocked, match=r"egress\.allow_private or egress\.allow_networks"):
        check_url(f"https://{host}:8088/services/collector", STRICT)
    check_url(f"https://{host}:8088/services/collector", Egress(allow_private=True))


@pytest.mark.parametrize(
    "host", ["hec.example.com", "127.0.0.1.example.com", "8.8.8.8", "xn--bcher-kva.example", "1e100.net"]
)
def test_lets_names_and_public_addresses_be_saved(host: str) -> None:
    """A name is judged when it is resolved, not before."""
    check_url(f"https://{host}/path?x=1", STRICT)


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("http://hec.example.com/", "egress.allow_http"),
        ("ftp://hec.example.com/", "https:// only"),
        ("file:///etc/passwd", "https:// only"),
        ("hec.example.com", "https:// only"),
        ("https://", "no host name|not a web address"),
        ("https://user:secret@hec.example.com/", "credential fields"),
        ("https://user@hec.example.com/", "credential fields"),
        ("https://hec.example.com:99999/", "not a web address"),
        ("https://[::1/", "not a web address"),
    ],
)
def test_refuses_urls_that_are_not_plain_https(url: str, words: str) -> None:
    """The message says what to do, and never repeats a secret."""
    with pytest.raises(EgressBlocked, match=words) as caught:
        check_url(url, STRICT)
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    ("url", "connected"),
    [
        ("https://HEC.Example:8088/a%2Fb?q=%20&x=items.*.y", "https://hec.example:8088/a%2Fb?q=%20&x=items.*.y"),
        ("https://8\u30028\u30028\uff0e8/", "https://8.8.8.8/"),
        ("https://\uff18.8.8.8/", "https://8.8.8.8/"),
        ("https://b\u00fccher.example/", "https://xn--bcher-kva.example/"),
        ("https://exa\tmple.com/", "https://example.com/"),
        ("https://8.8.8.8#@127.0.0.1/", "https://8.8.8.8/#@127.0.0.1/"),
        ("https://8.8.8.8?@127.0.0.1/", "https://8.8.8.8/?@127.0.0.1/"),
        ("https://8.8.8.8:/", "https://8.8.8.8/"),
        ("https://[2606:4700::1111]:443/", "https://[2606:4700::1111]/"),
    ],
)
def test_the_host_that_was_judged_is_the_one_that_is_connected(url: str, connected: str) -> None:
    """No second reading of the text can find another host in it; path and query stay as they are."""
    assert str(check_url(url, STRICT)) in {connected, connected.replace("/?", "?").replace("/#", "#")}


@pytest.mark.parametrize(
    "url",
    [
        "https://8.8.8.8\\@127.0.0.1/",
        "https://8.8.8.8\\.example/",
        "https://8.8.8.8:443@127.0.0.1/",
        "https://8.8.8.8%00@127.0.0.1/",
        "https://[::1].example/",
        "https://example[::1]/",
        "https://[127.0.0.1]/",
        "https://[::1/",
        "https://::1/",
        "https://8.8.8.8:443:80/",
        "https://8.8.8.8:-1/",
        "https://8.8.8.8:65536/",
        "https://127.0.0.1\u200b/",
        "https://\u00ad127.0.0.1/",
        "https:127.0.0.1",
        "https:/127.0.0.1",
        "https:///127.0.0.1",
        "//127.0.0.1/",
        "127.0.0.1",
        "gopher://8.8.8.8/",
        "HTTP://8.8.8.8/",
        "",
    ],
)
def test_refuses_urls_that_two_readers_may_read_in_two_ways(url: str) -> None:
    """Backslashes, user names, brackets in the wrong place, several ports, characters that cannot be seen."""
    with pytest.raises(EgressBlocked):
        check_url(url, STRICT)


def test_http_needs_permission() -> None:
    """``http://`` is allowed by its own setting, which allows no address."""
    policy = Egress(allow_http=True)
    check_url("http://hec.example.com/", policy)
    with pytest.raises(EgressBlocked):
        check_url("http://127.0.0.1/", policy)


@pytest.mark.parametrize("host", ["example.com", "1.2.3.4.5", "0x7g.1", "256.1.1.1", "1.2.3.4 x", "\u0661.1.1.1", ""])
def test_a_name_is_no_address(host: str) -> None:
    """What no resolver takes for an address is left to the resolver."""
    assert literal_address(host) is None


class TestGuardedResolver:
    def make(self, *found: str, policy: Egress = STRICT) -> GuardedResolver:
        return GuardedResolver(policy, answers(*found), timeout_s=1.0)

    async def test_hands_on_permitted_addresses_alone(self) -> None:
        """Forbidden ones in a mixed answer are left out, so that nothing can connect to them."""
        found = await self.make("10.0.0.1", "8.8.8.8", "::1", "2606:4700::1111").resolve("x.example", 443)
        assert [(family, where[:2]) for family, *_, where in found] == [
            (socket.AF_INET, ("8.8.8.8", 443)),
            (socket.AF_INET6, ("2606:4700::1111", 443)),
        ]

    async def test_refuses_a_name_without_a_permitted_address(self) -> None:
        """The message names the host and the settings, and not the address."""
        with pytest.raises(EgressBlocked) as caught:
            await self.make("10.11.12.13", "fe80::1%3").resolve("x.example", 443)
        assert "x.example" in str(caught.value)
        assert "egress.allow_private" in str(caught.value)
        assert "10.11.12.13" not in str(caught.value)

    async def test_an_empty_answer_is_a_failed_lookup(self) -> None:
        """A name without addresses does not resolve; nothing was blocked."""
        with pytest.raises(OSError, match="no address"):
            await self.make().resolve("x.example", 443)

    async def test_gives_up_on_a_silent_name_server(self) -> None:
        """A lookup that does not end is a failure to resolve after the time given."""

        async def silent(host: str, port: int, family: socket.AddressFamily) -> list[str]:
            await asyncio.Event().wait()
            return []

        with pytest.raises(OSError, match="no answer within"):
            await GuardedResolver(STRICT, silent, timeout_s=0.01).resolve("x.example", 443)


@pytest.mark.parametrize(("family", "address"), [(socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1")])
def test_no_socket_is_made_for_a_forbidden_address(family: socket.AddressFamily, address: str) -> None:
    """Whatever reached the place where connections are made, by whichever way, is judged there once more."""
    place = (family, socket.SOCK_STREAM, socket.IPPROTO_TCP, "", (address, 443))
    with pytest.raises(ForbiddenAddress):
        guarded_socket(STRICT)(place)
    with guarded_socket(Egress(allow_networks=(f"{address}",)))(place) as made:
        assert (made.family, made.type) == (family, socket.SOCK_STREAM)
