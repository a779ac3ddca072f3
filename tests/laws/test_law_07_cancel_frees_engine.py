"""Law 7. A cancelled client frees the engine within one second."""

import asyncio
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.gateway.fuzzing import QUICK, in_one_world
from tests.gateway.world import CHAT, SSE_HEAD, Seen, Wire, World, post

EVENT = b"9\r\ndata: 1\n\n\r\n"
MOMENTS = {
    "before the head": (),
    "after the head": (SSE_HEAD,),
    "inside the head": (SSE_HEAD[:20],),
    "inside an event": (SSE_HEAD, EVENT, EVENT[:7]),
    "between events": (SSE_HEAD, EVENT, EVENT),
    "inside a body of declared length": (b"HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\nabc",),
}


@pytest.mark.timeout(120)
def test_the_engine_sees_the_end_within_a_second() -> None:
    slowest = [0.0]

    def body(play) -> None:  # type: ignore[no-untyped-def]
        @settings(QUICK, max_examples=80)
        @given(
            moments=st.lists(st.sampled_from(sorted(MOMENTS)), min_size=1, max_size=6),
            wait_ms=st.integers(0, 5),
            pipelined=st.booleans(),
        )
        def example(moments: list[str], wait_ms: int, pipelined: bool) -> None:
            async def run(world: World) -> None:
                begun = asyncio.Event()
                ended: list[float] = []

                async def script(seen: Seen, wire: Wire) -> None:
                    await wire.send(*MOMENTS[seen.header(b"x-moment").decode()])
                    begun.set()
                    await wire.gone()
                    ended.append(time.monotonic())
                    wire.close()

                world.engine.script = script
                clients = [await world.client() for _ in moments]
                for client, moment in zip(clients, moments, strict=True):
                    await client.send(post("/v1/a", CHAT, f"X-Moment: {moment}") * (1 + pipelined))
                await begun.wait()
                await asyncio.sleep(wait_ms / 1000)
                started = len(world.engine.seen)
                left = time.monotonic()
                for client in clients:
                    client.leave()
                await world.until(lambda: not world.app.running and len(ended) >= started and not world.engine.open)
                slowest[0] = max(slowest[0], time.monotonic() - left)
                world.engine.seen.clear()
                await world.quiet()

            play(run)

        example()

    in_one_world(World, body)
    assert slowest[0] < 1.0


@pytest.mark.anyio
async def test_a_client_that_leaves_while_the_engine_is_being_reached() -> None:
    """The engine accepts nothing yet: leaving gives up the attempt, and no request is sent later."""
    async with World() as world:
        world.engine.script = lambda seen, wire: wire.gone()
        client = await world.client()
        await client.send(post("/v1/a", CHAT))
        await world.until(lambda: world.app.running)
        client.leave()
        await world.quiet()
        await world.until(lambda: world.engine.open == 0)
        assert [record.outcome for record in world.records] == ["client_left"]
        assert world.records[0].status == 499


@pytest.mark.anyio
async def test_a_paused_client_that_leaves() -> None:
    """Back-pressure must not keep the gateway from noticing."""
    async with World() as world:

        async def endless(seen: Seen, wire: Wire) -> None:
            await wire.send(SSE_HEAD)
            while True:
                await wire.send(b"2710\r\n" + b"data: " + b"x" * 9_992 + b"\n\n" + b"\r\n")

        world.engine.script = endless
        client = await world.client(receive_buffer=4096)
        await client.send(post("/v1/a", CHAT))
        await world.until(lambda: any(relay.paused_at for relay in world.app.running))
        left = time.monotonic()
        client.leave()
        await world.until(lambda: world.engine.open == 0)
        assert time.monotonic() - left < 1.0
        await world.quiet()
