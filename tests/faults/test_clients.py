"""Clients that leave, dawdle or never read."""

import asyncio
import hashlib
import time
from pathlib import Path

import pytest

from penstock.core.record import Outcome
from tests.faults.upstream import SSE, Call, Script, Upstream, delta
from tests.faults.world import CHAT, STREAM, gateway, post, timeouts, until
from tests.worlds.platform import engine, memory, up

pytestmark = pytest.mark.anyio

OFFERED = 200_000_000
PIECE = b"data: " + b"x" * 99_992 + b"\n\n"
HELD_AT_MOST = 32_000_000
"""Socket buffers of three processes grow to several MB each."""


async def streams_for_ever(call: Call) -> None:
    await call.sse(delta("one"))
    await call.left()


async def never_answers(call: Call) -> None:
    await call.left()


async def answers_slowly(call: Call) -> None:
    await call.send(b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 100\r\n\r\n{")
    await call.left()


@pytest.mark.parametrize("script", [streams_for_ever, never_answers, answers_slowly], ids=lambda s: s.__name__)
async def test_a_client_that_leaves_frees_the_engine(script: Script) -> None:
    async with Upstream(script) as slow, gateway(slow) as gate:
        raw = await gate.raw(post(STREAM))
        await until(lambda: slow.calls)
        if script is not never_answers:
            await raw.head()
        await raw.leave()
        assert await until(lambda: slow.calls[0].over) < 1
        record = await gate.record()
        assert (record.outcome, record.status, record.error) == (Outcome.CLIENT_LEFT, 499, "client_left")
        assert len(record.attempts) == 1


async def test_an_openai_client_that_closes_its_stream_frees_the_engine() -> None:
    async with Upstream(streams_for_ever) as slow, gateway(slow) as gate, gate.openai() as client:
        stream = await client.chat.completions.create(**STREAM)
        assert (await anext(aiter(stream))).choices[0].delta.content == "one"
        await stream.close()
        assert await until(lambda: slow.calls[0].over) < 1
        assert (await gate.record()).outcome is Outcome.CLIENT_LEFT


async def test_a_client_that_leaves_is_not_retried_for() -> None:
    async def resets_late(call: Call) -> None:
        await asyncio.sleep(0.1)
        call.reset()

    async with Upstream(resets_late) as bad, gateway(bad, bad) as gate:
        raw = await gate.raw(post(CHAT))
        await until(lambda: bad.calls)
        await raw.leave()
        record = await gate.record()
        await until(lambda: bad.calls[0].over)
        assert (record.outcome, len(bad.calls)) == (Outcome.CLIENT_LEFT, 1)


async def test_pipelined_requests_of_a_client_that_left_are_not_started() -> None:
    async with Upstream(never_answers) as slow, gateway(slow) as gate:
        raw = await gate.raw(post(CHAT) * 5)
        await until(lambda: slow.calls)
        await raw.leave()
        await until(lambda: slow.calls[0].over)
        assert (await gate.record()).outcome is Outcome.CLIENT_LEFT
        assert len(slow.calls) == 1


async def test_a_client_that_leaves_within_its_request_leaves_nothing() -> None:
    async with Upstream() as slow, gateway(slow) as gate, gate.http() as client:
        for cut in (1, 20, 60, 120):
            raw = await gate.raw(post(CHAT)[:cut])
            await until(lambda: gate.app.connections)
            await raw.leave()
            await until(lambda: not gate.app.connections)
        assert (await client.post("/v1/chat/completions", json=CHAT)).status_code == 200
        await gate.record()
        assert len(slow.calls) == 1


async def test_a_client_that_takes_nothing_is_dropped() -> None:
    async def pours(call: Call) -> None:
        await call.sse()
        while True:
            await call.chunk(PIECE)

    async with Upstream(pours) as rich, gateway(rich, **timeouts(client_stall=0.3)) as gate:
        raw = await gate.raw(post(STREAM), buffer=16_384)
        await raw.head()
        raw.writer.transport.pause_reading()
        record = await gate.record()
        assert record.outcome is Outcome.CLIENT_LEFT
        assert 0.3 <= record.duration_s < 3


async def test_a_slow_reader_delays_nobody() -> None:
    async def pours(call: Call) -> None:
        if b"stream" in call.body:
            await call.sse()
            while True:
                await call.chunk(PIECE)
        await call.answer()

    async with Upstream(pours) as rich, gateway(rich) as gate, gate.http() as client:
        for _ in range(3):
            slow = await gate.raw(post(STREAM), buffer=16_384)
            await slow.head()
            slow.writer.transport.pause_reading()
        begun = time.monotonic()
        for _ in range(20):
            assert (await client.post("/v1/chat/completions", json=CHAT)).status_code == 200
        assert time.monotonic() - begun < 2


@pytest.mark.parametrize(
    "head",
    [SSE, b"HTTP/1.1 200 OK\r\ncontent-type: audio/wav\r\ncontent-length: %d\r\n\r\n" % OFFERED],
    ids=["stream", "body of declared length"],
)
async def test_a_slow_client_holds_the_engine_back(head: bytes, tmp_path: Path) -> None:
    stream = head is SSE

    async def offers(call: Call) -> None:
        await call.send(head)
        for _ in range(OFFERED // len(PIECE)):
            await (call.chunk(PIECE) if stream else call.send(PIECE))
        if stream:
            await call.finish()

    async with Upstream(offers) as rich, up(tmp_path, {"engines": [engine(rich)]}) as platform:
        [worker] = platform.workers()
        before = memory(worker)
        async with platform.http() as client, client.stream("POST", "/v1/chat/completions", json=STREAM) as answer:
            assert answer.status_code == 200
            offered = -1
            while rich.calls[0].sent != offered:  # until it stands still
                offered = rich.calls[0].sent
                await asyncio.sleep(0.2)
            assert offered < HELD_AT_MOST, "the engine was not held back"
            assert memory(worker) - before < HELD_AT_MOST
            digest = hashlib.sha256()
            async for piece in answer.aiter_raw(1 << 20):
                digest.update(piece)
        assert digest.digest() == hashlib.sha256(PIECE * (OFFERED // len(PIECE))).digest()
        assert memory(worker) - before < HELD_AT_MOST
        [record] = await platform.ended(1)
        assert (record["outcome"], record["bytes_out"]) == ("success", OFFERED)
