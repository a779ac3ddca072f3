"""A second engine for a slow first: one answer, and the slower engine is freed."""

from __future__ import annotations

import asyncio

import pytest

from penstock.core.record import Outcome
from penstock.policy.resilience.timeouts import kind_of
from tests.gateway.world import (
    CHAT,
    SSE_HEAD,
    ScriptedEngine,
    Seen,
    Wire,
    World,
    chunked,
    post,
    response,
    sends,
)

pytestmark = pytest.mark.anyio

PATH = "/v1/chat/completions"


def hedging() -> World:
    """Two engines, and answers that as a rule begin within 10 ms."""
    return World(engines=2, resilience={"hedge": True})


def teach(world: World) -> None:
    kind = kind_of("m", False, 10, 0, 0)
    for _ in range(60):
        world.app.learned.learned(kind, first_s=0.01)


async def first_engine(world: World) -> tuple[ScriptedEngine, ScriptedEngine]:
    """The engine that is asked first, and the other."""
    for engine in world.engines:
        engine.script = sends(response(b"{}"))
    await world.ask(post(PATH, CHAT))
    await world.quiet()
    name = world.records[-1].engine
    first, other = sorted(world.engines, key=lambda engine: engine.name != name)
    return first, other


async def gone(seen: Seen, wire: Wire) -> None:
    await wire.gone()


async def test_the_second_engine_answers_and_the_first_is_freed() -> None:
    async with hedging() as world:
        slow, quick = await first_engine(world)
        teach(world)
        freed = asyncio.Event()

        async def hangs(seen: Seen, wire: Wire) -> None:
            await wire.gone()
            freed.set()

        slow.script = hangs
        quick.script = sends(SSE_HEAD + chunked(b'data: {"n":2}\n\n', b"data: [DONE]\n\n"))
        answer = await world.ask(post(PATH, CHAT))
        assert answer.status == 200
        assert b'"n":2' in answer.body
        async with asyncio.timeout(10):
            await freed.wait()
        await world.quiet()
        record = world.records[-1]
        assert record.outcome is Outcome.SUCCESS
        assert record.engine == quick.name
        assert sorted((a.engine, a.error) for a in record.attempts) == sorted([(slow.name, "hedged"), (quick.name, "")])


async def test_the_first_may_still_win() -> None:
    async with hedging() as world:
        slow, other = await first_engine(world)
        teach(world)

        async def late(seen: Seen, wire: Wire) -> None:
            await world.until(lambda: other.seen)
            await wire.send(response(b'{"n":1}'))

        slow.script, other.script = late, gone
        answer = await world.ask(post(PATH, CHAT))
        assert answer.body == b'{"n":1}'
        await world.quiet()
        assert world.records[-1].engine == slow.name
        assert {attempt.error for attempt in world.records[-1].attempts} == {"hedged", ""}


async def test_a_copy_that_fails_does_not_end_the_other() -> None:
    async with hedging() as world:
        slow, other = await first_engine(world)
        teach(world)

        async def late(seen: Seen, wire: Wire) -> None:
            await world.until(lambda: other.seen)
            await asyncio.sleep(0.05)
            await wire.send(response(b'{"n":1}'))

        slow.script = late
        other.script = sends(response(b"{}", status="503 Service Unavailable"))
        answer = await world.ask(post(PATH, CHAT))
        assert (answer.status, answer.body) == (200, b'{"n":1}')
        await world.quiet()


async def test_a_client_that_leaves_frees_both() -> None:
    async with hedging() as world:
        slow, other = await first_engine(world)
        teach(world)
        freed: list[str] = []

        async def hangs(seen: Seen, wire: Wire) -> None:
            await wire.gone()
            freed.append(seen.engine)

        slow.script = other.script = hangs
        client = await world.client()
        await client.send(post(PATH, CHAT))
        await world.until(lambda: other.seen)
        client.leave()
        await world.until(lambda: len(freed) == 2)
        await world.quiet()
        assert world.records[-1].outcome is Outcome.CLIENT_LEFT


async def test_without_hedging_nobody_else_is_asked() -> None:
    async with World(engines=2, timeouts={"first_byte": 0.4}) as world:
        slow, other = await first_engine(world)
        teach(world)
        slow.script = gone
        answer = await world.ask(post(PATH, CHAT))
        assert answer.status == 504
        assert len(other.seen) == 0
        await world.quiet()
