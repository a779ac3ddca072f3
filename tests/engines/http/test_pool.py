"""Which connections are used again: those of an engine that closes after streams have to rest first."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from penstock.core.request import Request
from penstock.engines.http import HttpEngine, pool
from tests.engines.http.conftest import Told
from tests.gateway.world import SSE_HEAD, ScriptedEngine, Seen, Wire, chunked, response, sends, until

pytestmark = pytest.mark.anyio
STREAM = SSE_HEAD + chunked(b"data: 1\n\n", b"data: [DONE]\n\n")
CLOSES_IN_S = 0.03


@pytest.fixture
async def engine(upstream: ScriptedEngine) -> AsyncIterator[HttpEngine]:
    engine = HttpEngine(upstream.url, authorization=None, connect_timeout=5.0, connections=3)
    yield engine
    engine.retire()


async def closes_after_streams(seen: Seen, wire: Wire) -> None:
    """Offers to keep the connection and closes it a moment later, as llama.cpp's server does."""
    await wire.send(STREAM)
    await asyncio.sleep(CLOSES_IN_S)
    wire.close()


def begin(engine: HttpEngine) -> tuple[Told, bool]:
    asked, told = Request(0.0), Told()
    asked.method, asked.target, asked.path, asked.body = b"POST", b"/v1/a", b"/v1/a", b"{}"
    return told, engine.send(asked, told, b"id").reused


async def answered(engine: HttpEngine) -> bool:
    """Whether the request was answered on a connection that was used before."""
    told, reused = begin(engine)
    await told.wait()
    assert told.said[-1] == "end", told.said
    return reused


async def taught(engine: HttpEngine, upstream: ScriptedEngine) -> None:
    upstream.script = closes_after_streams
    for _ in range(pool.SEEN):
        await answered(engine)
        await until(lambda: "0 idle" in repr(engine))


async def test_a_connection_that_is_about_to_be_closed_is_not_taken(
    engine: HttpEngine, upstream: ScriptedEngine
) -> None:
    await taught(engine, upstream)
    assert [await answered(engine) for _ in range(5)] == [False] * 5
    await until(lambda: "resting" not in repr(engine))
    assert "0 idle" in repr(engine)


async def test_before_that_was_seen_a_request_is_lost_so(engine: HttpEngine, upstream: ScriptedEngine) -> None:
    """What the rest is for: the world of the test above, without what was learnt."""
    upstream.script = closes_after_streams
    await answered(engine)
    told, reused = begin(engine)
    await told.wait()
    assert reused
    assert told.said == ["upstream_reset"]


async def test_one_that_outlives_its_rest_is_used_and_others_need_none(
    engine: HttpEngine, upstream: ScriptedEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pool, "REST_S", 0.2)
    await taught(engine, upstream)
    upstream.script = sends(STREAM)
    assert not await answered(engine)
    assert "0 idle, 1 resting" in repr(engine)
    await asyncio.sleep(0.25)
    assert [await answered(engine) for _ in range(3)] == [True] * 3
    assert "1 idle>" in repr(engine)


async def test_whole_answers_leave_connections_that_need_no_rest(engine: HttpEngine, upstream: ScriptedEngine) -> None:
    await taught(engine, upstream)
    upstream.script = sends(response(b"{}"))
    assert [await answered(engine) for _ in range(3)] == [False, True, True]


async def test_what_the_pool_closes_itself_teaches_nothing(engine: HttpEngine, upstream: ScriptedEngine) -> None:
    upstream.script = sends(STREAM)
    for _ in range(2):
        for told, _reused in [begin(engine) for _ in range(6)]:
            await told.wait()
        await until(lambda: upstream.open == 3)
    assert "3 idle>" in repr(engine)
    assert await answered(engine)
    assert "3 idle>" in repr(engine)


async def test_resting_ones_count_and_are_closed_too(engine: HttpEngine, upstream: ScriptedEngine) -> None:
    await taught(engine, upstream)
    upstream.script = sends(STREAM)
    for told, _reused in [begin(engine) for _ in range(6)]:
        await told.wait()
    assert "0 idle, 3 resting" in repr(engine)
    engine.retire()
    await until(lambda: not upstream.open)
