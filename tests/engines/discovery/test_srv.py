"""SRV records, from a name server on this machine that answers real queries."""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any

import dns.message
import dns.rcode
import dns.resolver
import dns.rrset
import pytest

from penstock.engines.discovery.dns import DnsSource
from penstock.engines.discovery.srv import Services

Watching = Callable[[Any], AbstractAsyncContextManager[Any]]
pytestmark = pytest.mark.anyio
NAME = "_http._tcp.vllm.test."


class NameServer(asyncio.DatagramProtocol):
    """Answers every question with `records`; with none there is no such name."""

    def __init__(self, records: Sequence[str], ttl: int) -> None:
        self.records, self.ttl = list(records), ttl
        self.asked = 0

    def connection_made(self, transport: Any) -> None:
        self._transport = transport

    def datagram_received(self, data: bytes, addr: tuple[str | Any, int]) -> None:
        self.asked += 1
        response = dns.message.make_response(dns.message.from_wire(data))
        if self.records:
            response.answer.append(dns.rrset.from_text(NAME, self.ttl, "IN", "SRV", *self.records))
        else:
            response.set_rcode(dns.rcode.NXDOMAIN)
        self._transport.sendto(response.to_wire(), addr)


@asynccontextmanager
async def serving(*records: str, ttl: int = 600) -> AsyncIterator[tuple[NameServer, Services]]:
    loop = asyncio.get_running_loop()
    transport, server = await loop.create_datagram_endpoint(lambda: NameServer(records, ttl), ("127.0.0.1", 0))
    resolver = dns.resolver.Resolver(configure=False)
    resolver.nameservers, resolver.port = ["127.0.0.1"], transport.get_extra_info("sockname")[1]
    try:
        yield server, Services(resolver)
    finally:
        transport.close()


async def test_targets_have_their_own_ports_and_those_of_a_later_priority_wait() -> None:
    async with serving("0 5 8001 a.test.", "0 1 8002 b.test.", "10 1 8003 spare.test.", ttl=7) as (_, services):
        answer = await asyncio.to_thread(services, NAME)
        assert sorted(answer.targets) == [("a.test", 8001), ("b.test", 8002)]
        assert answer.lives_s == 7


async def test_a_domain_that_says_it_has_no_such_service_has_no_engine() -> None:
    async with serving("0 0 0 .") as (_, services):
        assert (await asyncio.to_thread(services, NAME)).targets == ()


async def test_records_are_asked_for_again_when_they_have_lived(watching: Watching) -> None:
    async with serving("0 1 8001 a.test.", ttl=0) as (server, services):
        async with watching(DnsSource("p", NAME, 9, interval_s=60.0, resolve=services)) as watched:
            await watched.until(lambda: watched.urls == ["http://a.test:8001"])
            server.records.append("0 1 8002 b.test.")
            await watched.until(lambda: watched.urls == ["http://a.test:8001", "http://b.test:8002"])
        assert server.asked >= 2


async def test_a_name_that_is_gone_changes_nothing_and_is_told(watching: Watching) -> None:
    async with serving("0 1 8001 a.test.", ttl=0) as (server, services):
        source = DnsSource("p", NAME, 9, interval_s=0.05, resolve=services)
        async with watching(source) as watched:
            await watched.until(lambda: watched.urls == ["http://a.test:8001"])
            server.records.clear()
            await watched.until(lambda: source.problem)
            assert "does not exist" in source.problem
            assert len(watched.told) == 1


async def test_a_silent_name_server_is_an_os_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("penstock.engines.discovery.srv.LONGEST_S", 0.1)
    async with serving() as (server, services):
        monkeypatch.setattr(server, "datagram_received", lambda data, addr: None)
        with pytest.raises(OSError, match="expired"):
            await asyncio.to_thread(services, NAME)
