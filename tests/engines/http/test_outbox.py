"""Requests of one turn of the loop go out together at its end, and none that nobody waits for any more."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from penstock.core.engine import Exchange
from penstock.core.request import Request
from penstock.engines.http import HttpEngine, Outbox, outbox
from tests.engines.http.conftest import Told
from tests.gateway.world import ScriptedEngine, response, sends

pytestmark = pytest.mark.anyio


class Watched(Outbox):
    """Counts what each flush finds."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[int] = []

    def flush(self) -> None:
        self.found.append(len(self._due))
        super().flush()


@pytest.fixture
def shared() -> Watched:
    return Watched()


@pytest.fixture
async def engines(upstream: ScriptedEngine, shared: Watched) -> AsyncIterator[list[HttpEngine]]:
    """Two engines with an outbox in common and 20 idle connections each."""
    upstream.script = sends(response(b"{}"))
    engines = [
        HttpEngine(upstream.url, authorization=None, connect_timeout=5.0, connections=20, outbox=shared)
        for _ in range(2)
    ]
    for told, _ in [begin(engine, b"first") for engine in engines for _ in range(20)]:
        await told.wait()
    shared.found.clear()
    upstream.seen.clear()
    yield engines
    for engine in engines:
        engine.retire()


def begin(engine: HttpEngine, number: bytes) -> tuple[Told, Exchange]:
    asked, told = Request(0.0), Told()
    asked.method, asked.target, asked.path, asked.body = b"POST", b"/v1/" + number, b"/v1/" + number, b"{}"
    return told, engine.send(asked, told, number)


async def test_requests_of_one_turn_go_out_at_its_end(
    engines: list[HttpEngine], upstream: ScriptedEngine, shared: Watched
) -> None:
    begun = [begin(engines[number % 2], b"%d" % number) for number in range(6)]
    assert shared.found == []
    for told, exchange in begun:
        assert exchange.reused
        assert (await told.wait()).said == ["head 200", "last data", "end"]
    assert shared.found == [6]
    assert len(upstream.seen) == 6


async def test_so_many_do_not_wait_for_it(engines: list[HttpEngine], shared: Watched) -> None:
    begun = [begin(engines[number % 2], b"%d" % number) for number in range(outbox.MOST + 2)]
    assert shared.found == [outbox.MOST]
    for told, _ in begun:
        await told.wait()
    assert sum(shared.found) == outbox.MOST + 2


async def test_one_that_was_cancelled_is_never_sent(engines: list[HttpEngine], upstream: ScriptedEngine) -> None:
    told, _ = begin(engines[0], b"kept")
    left, exchange = begin(engines[0], b"left")
    exchange.cancel()
    await told.wait()
    await asyncio.sleep(0.05)
    assert [seen.target for seen in upstream.seen] == ["/v1/kept"]
    assert left.said == []
