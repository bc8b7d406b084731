"""Asking the system's resolver, here with names that hang."""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import Iterator

import pytest

from gateway.providers.lookup import SystemLookup

ANY = socket.AF_UNSPEC


class NameServer:
    """Stands where the system's resolver is asked. Names that begin with ``hang`` wait for ``release``."""

    def __init__(self) -> None:
        self.release = threading.Event()
        self.hanging = threading.Semaphore(0)
        self.asked: list[str] = []
        self.threads: list[threading.Thread] = []

    async def hangs(self) -> None:
        """Wait for a name that does."""
        await asyncio.to_thread(self.hanging.acquire)

    def getaddrinfo(self, host: str, port: int, *_: object) -> list[tuple[object, ...]]:
        self.asked.append(host)
        self.threads.append(threading.current_thread())
        if host.startswith("hang"):
            self.hanging.release()
            self.release.wait()
        if host.endswith("nowhere.example"):
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("192.0.2.7", port))]


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[NameServer]:
    server = NameServer()
    monkeypatch.setattr(socket, "getaddrinfo", server.getaddrinfo)
    yield server
    server.release.set()


async def some_turns() -> None:
    for _ in range(10):
        await asyncio.sleep(0)


async def gives_up(asking: asyncio.Task[list[str]]) -> None:
    await some_turns()  # it has asked by then
    asking.cancel()
    await asyncio.wait({asking})
    assert asking.cancelled()


async def test_names_become_numeric_addresses() -> None:
    """Each once, off the event loop."""
    found = await SystemLookup()("localhost", 80, ANY)
    assert set(found) <= {"127.0.0.1", "::1"}
    assert len(found) == len(set(found)) > 0


async def test_link_local_addresses_keep_their_zone() -> None:
    """Without its zone a link-local address would not connect."""
    found = await SystemLookup()("fe80::1%1", 80, socket.AF_INET6)
    assert found == ["fe80::1%1"] or found[0].startswith("fe80::1%")


async def test_a_name_that_hangs_holds_one_thread_however_many_ask(server: NameServer) -> None:
    """Other names resolve meanwhile, and all who asked get the one answer."""
    lookup = SystemLookup(threads_max=2)
    asking = [asyncio.create_task(lookup("hang.example", port, ANY)) for port in (443, 443, 8088)]
    await some_turns()
    assert await lookup("well.example", 443, ANY) == ["192.0.2.7"]
    server.release.set()
    assert await asyncio.gather(*asking) == [["192.0.2.7"]] * 3
    assert sorted(server.asked) == ["hang.example", "well.example"]


async def test_a_lookup_goes_on_when_those_who_asked_have_given_up(server: NameServer) -> None:
    """Who asks again waits for the one that is under way; once it has ended the name is asked for anew."""
    lookup = SystemLookup()
    asking = asyncio.create_task(lookup("hang.example", 443, ANY))
    await server.hangs()
    await gives_up(asking)
    again = asyncio.create_task(lookup("hang.example", 443, ANY))
    await some_turns()
    server.release.set()
    assert await again == ["192.0.2.7"]
    assert server.asked == ["hang.example"]
    await lookup("hang.example", 443, ANY)
    assert server.asked == ["hang.example"] * 2


async def test_what_nobody_waits_for_any_more_is_not_begun(server: NameServer) -> None:
    """Behind names that hang no queue of forgotten questions grows, and one of them can be asked again."""
    lookup = SystemLookup(threads_max=1)
    hanging = asyncio.create_task(lookup("hang.example", 443, ANY))
    await gives_up(asyncio.create_task(lookup("forgotten.example", 443, ANY)))
    await gives_up(asyncio.create_task(lookup("again.example", 443, ANY)))
    again = asyncio.create_task(lookup("again.example", 443, ANY))
    await some_turns()
    server.release.set()
    assert await again == await hanging == ["192.0.2.7"]
    assert server.asked == ["hang.example", "again.example"]


async def test_a_name_that_does_not_resolve_fails_for_all_who_asked(server: NameServer) -> None:
    """Also for nobody: when they have given up, a failure disturbs no one."""
    lookup = SystemLookup()
    asking = [asyncio.create_task(lookup("hang.nowhere.example", 443, ANY)) for _ in range(2)]
    await server.hangs()
    alone = asyncio.create_task(lookup("hang.also.nowhere.example", 443, ANY))
    await server.hangs()
    await gives_up(alone)
    server.release.set()
    failures = await asyncio.gather(*asking, return_exceptions=True)
    assert [type(failure) for failure in failures] == [socket.gaierror] * 2
    with pytest.raises(socket.gaierror):
        await lookup("hang.also.nowhere.example", 443, ANY)


async def test_no_thread_keeps_the_process_from_ending(server: NameServer) -> None:
    """One that is stuck in the resolver is left behind."""
    asking = asyncio.create_task(SystemLookup()("hang.example", 443, ANY))
    await server.hangs()
    await gives_up(asking)
    assert [thread.daemon for thread in server.threads] == [True]
