"""Clients that send and do not read: memory stays bounded, and they are dropped in the end."""

import pytest

from tests.gateway.world import CHAT, World, get, post, response, sends

pytestmark = pytest.mark.anyio

BIG = response(b"x" * 4_000_000)


async def test_a_client_that_reads_nothing_gets_no_second_answer() -> None:
    """Behind an answer that is not taken, pipelined requests wait; reading goes on where it stopped."""
    async with World() as world:
        world.engine.script = sends(BIG)
        client = await world.client(receive_buffer=4096)
        await client.send(get("/v1/a") * 3)
        await world.until(lambda: world.engine.seen)
        (connection,) = world.app.connections
        await world.until(lambda: connection.relay is not None and connection.relay.paused_at)
        assert len(world.engine.seen) == 1
        for _ in range(3):
            assert len((await client.answer("GET")).body) == 4_000_000
        await world.quiet()
        assert len(world.engine.seen) == 3


async def test_own_answers_wait_for_the_client_too() -> None:
    """Answers the gateway makes itself have no engine to pause: the requests wait instead."""
    models = {"engine1": tuple(f"model-{number}-{'x' * 100}" for number in range(1000))}
    async with World(models=models, timeouts={"client_stall": 0.3}) as world:
        client = await world.client(receive_buffer=4096)
        await client.send(get("/v1/models") * 500)
        await world.until(lambda: not world.app.connections)
        await world.quiet()
        assert len(world.records) < 100, "an answer is 130 kB; a handful fills every buffer on the way"


@pytest.mark.parametrize("last", ["close", "keep-alive"])
async def test_a_client_that_never_takes_its_answer_is_dropped(last: str) -> None:
    """Also when the answer is all sent from our side, and when its connection was to be closed."""
    async with World(timeouts={"client_stall": 0.2, "idle": 0.2}) as world:
        world.engine.script = sends(response(b"x" * 2_000_000))
        client = await world.client(receive_buffer=4096)
        await client.send(post("/v1/a", CHAT, f"Connection: {last}"))
        await world.until(lambda: world.app.connections)
        await world.until(lambda: not world.app.connections)
        await world.quiet()
        assert len(world.records) == 1


async def test_a_stalled_stream_pauses_its_engine_then_ends() -> None:
    async with World(timeouts={"client_stall": 0.3}) as world:
        sent = 0

        async def endless(seen: object, wire: object) -> None:
            nonlocal sent
            await wire.send(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n")  # type: ignore[attr-defined]
            while True:
                await wire.send(b"data: " + b"x" * 10_000 + b"\n\n")  # type: ignore[attr-defined]
                sent += 10_000

        world.engine.script = endless
        client = await world.client(receive_buffer=4096)
        await client.send(post("/v1/a", CHAT))
        await world.until(lambda: world.records)
        assert sent < 20_000_000, "kernel buffers may fill, the gateway's may not"
        (record,) = world.records
        assert record.outcome == "client_left"
        await world.quiet()
