"""The client side of an engine: every failure arrives at the sink, once, and nothing after a cancel."""

import asyncio
import socket
import time

import pytest
import uvloop

from penstock.core.request import Request
from penstock.engines.http import HttpEngine
from tests.engines.http.conftest import Told
from tests.gateway.world import ScriptedEngine, Seen, Wire, response, sends, then_closes, until

pytestmark = pytest.mark.anyio


def client(url: str, connections: int = 2, connect_timeout: float = 5.0) -> HttpEngine:
    return HttpEngine(url, authorization=None, connect_timeout=connect_timeout, connections=connections)


def request(body: bytes = b"{}", method: bytes = b"POST") -> Request:
    asked = Request(0.0)
    asked.method, asked.target, asked.path, asked.body = method, b"/v1/a", b"/v1/a", body
    return asked


async def test_head_data_end_in_order(upstream: ScriptedEngine) -> None:
    upstream.script = sends(response(b"hello"))
    engine, told = client(upstream.url), Told()
    exchange = engine.send(request(), told, b"id")
    await told.wait()
    assert (told.said, told.body, exchange.reused) == (["head 200", "last data", "end"], b"hello", False)
    engine.retire()


async def test_a_base_path_goes_before_the_target(upstream: ScriptedEngine) -> None:
    engine, told = client(upstream.url + "/base/"), Told()
    engine.send(request(), told, b"id")
    await told.wait()
    assert upstream.seen[0].target == "/base/v1/a"
    engine.retire()


async def test_nobody_listens() -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        told = Told()
        client(f"http://127.0.0.1:{closed.getsockname()[1]}").send(request(), told, b"id")
        await told.wait()
    assert told.said == ["upstream_refused"]


async def test_a_name_that_does_not_resolve() -> None:
    told = Told()
    client("http://no-such-host.invalid").send(request(), told, b"id")
    await told.wait()
    assert told.said == ["upstream_refused"]


async def test_nobody_accepts() -> None:
    """A listener whose queue is full drops what comes: connecting takes for ever."""
    with socket.socket() as full:
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        address = full.getsockname()
        with socket.create_connection(address), socket.socket() as second:
            second.setblocking(False)
            second.connect_ex(address)
            told = Told()
            client(f"http://127.0.0.1:{address[1]}", connect_timeout=0.2).send(request(), told, b"id")
            await told.wait()
    assert told.said == ["connect_timeout"]


async def test_after_a_cancel_nothing_is_told(upstream: ScriptedEngine) -> None:
    """While connecting, while waiting, inside the answer; twice is no more than once."""
    begun = asyncio.Event()

    async def script(seen: Seen, wire: Wire) -> None:
        await wire.send(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n12345")
        begun.set()
        await wire.gone()

    upstream.script = script
    engine = client(upstream.url)
    connecting = Told()
    engine.send(request(), connecting, b"id").cancel()
    told = Told()
    exchange = engine.send(request(), told, b"id")
    await begun.wait()
    await until(lambda: told.body)
    exchange.cancel()
    exchange.cancel()
    exchange.resume()
    await until(lambda: not upstream.open)
    assert (told.said, connecting.said) == (["head 200", "data"], [])
    engine.retire()


async def test_a_pause_before_there_is_a_connection_holds(upstream: ScriptedEngine) -> None:
    engine, told = client(upstream.url), Told()
    exchange = engine.send(request(), told, b"id")
    exchange.pause()
    await until(lambda: upstream.seen)
    await asyncio.sleep(0.02)
    assert told.said == []
    exchange.resume()
    await told.wait()
    assert told.said[-1] == "end"
    engine.retire()


async def test_a_connection_given_back_while_paused_reads_again(upstream: ScriptedEngine) -> None:
    engine, first, second = client(upstream.url), Told(), Told()
    upstream.script = sends(response(b"x"))
    exchange = engine.send(request(), first, b"id")
    first.data = lambda piece, last: exchange.pause()  # type: ignore[method-assign]
    await first.wait()
    assert engine.send(request(), second, b"id").reused
    await second.wait()
    assert upstream.connections == 1
    engine.retire()


async def test_the_pool_keeps_no_more_than_it_may(upstream: ScriptedEngine) -> None:
    engine = client(upstream.url, connections=2)
    told = [Told() for _ in range(5)]
    for sink in told:
        engine.send(request(), sink, b"id")
    for sink in told:
        await sink.wait()
    assert "2 idle" in repr(engine)
    await until(lambda: upstream.open <= 2)
    engine.retire()
    await until(lambda: not upstream.open)
    assert "0 idle" in repr(engine)


async def test_a_retired_engine_lets_what_runs_finish(upstream: ScriptedEngine) -> None:
    engine, told = client(upstream.url), Told()
    go_on = asyncio.Event()

    async def script(seen: Seen, wire: Wire) -> None:
        await go_on.wait()
        await wire.send(response(b"late"))

    upstream.script = script
    engine.send(request(), told, b"id")
    await until(lambda: upstream.seen)
    engine.retire()
    go_on.set()
    await told.wait()
    assert (told.body, told.said[-1]) == (b"late", "end")
    await until(lambda: not upstream.open)


async def test_fresh_means_fresh(upstream: ScriptedEngine) -> None:
    engine = client(upstream.url)
    for fresh, connections in ((False, 1), (False, 1), (True, 2)):
        told = Told()
        exchange = engine.send(request(), told, b"id", fresh=fresh)
        await told.wait()
        assert (upstream.connections, exchange.reused) == (connections, connections == 1 and len(upstream.seen) > 1)
    engine.retire()


async def test_a_connection_the_engine_closed_is_not_taken(upstream: ScriptedEngine) -> None:
    engine, first, second = client(upstream.url), Told(), Told()
    upstream.script = then_closes(response(b"x"))
    engine.send(request(), first, b"id")
    await first.wait()
    await until(lambda: "0 idle" in repr(engine))
    assert not engine.send(request(), second, b"id").reused
    await second.wait()
    assert second.said[-1] == "end"
    engine.retire()


def test_an_engine_that_accepted_while_the_process_stood_still_is_not_given_up() -> None:
    async def ask(port: int) -> list[str]:
        engine, told = client(f"http://127.0.0.1:{port}", connect_timeout=0.2), Told()
        exchange = engine.send(request(), told, b"id")
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        time.sleep(1.5)  # noqa: ASYNC251 - the loop is to stand still
        await asyncio.sleep(0.1)
        exchange.cancel()
        await asyncio.sleep(0.05)
        return told.said

    with socket.create_server(("127.0.0.1", 0)) as listening:  # the kernel accepts; nobody else needs to run
        assert uvloop.run(ask(listening.getsockname()[1])) == []
