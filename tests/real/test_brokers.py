"""What the durable queue asks of a broker holds for a real Redis and a real NATS, and calls may be repeated."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from penstock.state.queue import Broker, BrokerAway, Kept, open_broker
from penstock.state.queue.broker import BrokerSettings
from tests.real.brokers import Child, nats, redis

pytestmark = [pytest.mark.real, pytest.mark.anyio]
Made = tuple[Broker, Child, BrokerSettings]


@pytest.fixture(params=["redis", "nats"])
async def made(request: pytest.FixtureRequest, tmp_path: Path, free_port: Callable[[], int]) -> AsyncIterator[Made]:
    url, child = {"redis": redis, "nats": nats}[request.param](tmp_path / "broker", free_port())
    child.start()
    settings = BrokerSettings(url, keep_s=120.0, silent_s=1.5, most=3)
    broker = open_broker(settings)
    doubts = await broker.open()
    assert [doubt for doubt in doubts if doubt.startswith("Redis")] == []
    yield broker, child, settings
    await broker.close()
    child.kill()


async def test_records(made: Made) -> None:
    broker, _, _ = made
    assert await broker.get("k") is None
    assert await broker.create("k", b"1")
    assert not await broker.create("k", b"2")
    first = await broker.get("k")
    assert first is not None
    assert first.value == b"1"
    second = await broker.swap("k", first, b"2")
    assert second is not None
    assert await broker.get("k") == second
    assert await broker.swap("k", first, b"3") is None
    assert await broker.swap("k", second, b"3") is not None
    await broker.delete("k")
    await broker.delete("k")
    assert await broker.get("k") is None
    assert await broker.swap("none", Kept(b"x", 7), b"y") is None
    assert await broker.create("k", b"\x00" * 100_000)


async def test_ids_are_handed_out_once_until_their_holder_is_silent(made: Made) -> None:
    broker, _, _ = made
    for id_ in ("a", "b"):
        assert await broker.push(id_)
    held = await broker.pull(5, 2.0)
    assert [each.id for each in held] == ["a", "b"]
    assert (await broker.depth()).held == 2
    assert await broker.pull(5, 0.2) == []
    for _ in range(3):
        await asyncio.sleep(0.7)
        await broker.extend(held[0])
    again = await broker.pull(5, 1.0)
    assert [each.id for each in again] == ["b"]
    await broker.done(again[0])
    await broker.done(again[0])
    await broker.give_back(held[0], 0.0)
    await broker.give_back(held[0], 0.0)
    (back,) = await broker.pull(5, 2.0)
    assert back.id == "a"
    await broker.done(back)
    deadline = time.monotonic() + 5
    while (depth := await broker.depth()).held and time.monotonic() < deadline:  # noqa: ASYNC110
        await asyncio.sleep(0.05)  # an acknowledgement is counted a moment later
    assert (depth.waiting, depth.held, depth.oldest) == (0, 0, None)


async def test_the_queue_is_bounded_and_tells_its_depth(made: Made) -> None:
    broker, _, _ = made
    begun = time.time()
    assert [await broker.push(str(number)) for number in range(5)] == [True, True, True, False, False]
    await broker.pull(1, 1.0)
    depth = await broker.depth()
    assert (depth.waiting, depth.held) == (2, 1)
    assert depth.oldest is not None
    assert begun - 1 < depth.oldest < time.time() + 1


async def test_what_is_taken_in_again_is_neither_reset_nor_run_again(made: Made) -> None:
    """As when the first answer got lost on its way, and the request was run meanwhile."""
    broker, _, _ = made
    values = {"q-1.request": b"body", "q-1": b"waiting"}
    assert await broker.enqueue("q-1", values)
    record = await broker.get("q-1")
    assert record is not None
    assert await broker.swap("q-1", record, b"done")
    (held,) = await broker.pull(5, 1.0)
    await broker.delete("q-1.request")
    await broker.done(held)
    assert await broker.enqueue("q-1", values)
    kept = await broker.get("q-1")
    assert kept is not None
    assert kept.value == b"done"
    assert [await broker.enqueue(f"q-{n}", {f"q-{n}": b"x"}) for n in range(2, 7)].count(True) in (2, 3)
    full = [n for n in range(2, 7) if await broker.get(f"q-{n}") is None]
    assert len(full) >= 2


async def test_logs(made: Made) -> None:
    broker, _, _ = made
    assert await broker.pieces("q-1.1", 0, 0.1) == []
    for number in range(1, 301):
        await broker.append("q-1.1", number, b"%d" % number)
    await broker.append("q-1.1", 7, b"7")
    found: list[bytes] = []
    while len(found) < 300:
        pieces = await broker.pieces("q-1.1", len(found), 0.5)
        assert pieces
        found += pieces
    assert found == [b"%d" % number for number in range(1, 301)]
    assert await broker.pieces("q-1.2", 0, 0.1) == []
    waiting = asyncio.ensure_future(broker.pieces("q-1.1", 300, 3.0))
    await asyncio.sleep(0.2)
    await broker.append("q-1.1", 301, b"late")
    assert await waiting == [b"late"]
    await broker.forget("q-1.1")
    await broker.forget("q-1.1")
    assert await broker.pieces("q-1.1", 0, 0.1) == []


async def test_a_broker_that_is_away_is_said_and_comes_back(made: Made) -> None:
    broker, child, _ = made
    assert await broker.create("k", b"1")
    assert await broker.push("a")
    child.kill()
    for call in (broker.get("k"), broker.push("b"), broker.depth()):
        with pytest.raises(BrokerAway):
            await call
    await asyncio.to_thread(child.start)
    deadline = time.monotonic() + 20
    while True:
        try:
            kept = await broker.get("k")
            break
        except BrokerAway:
            assert time.monotonic() < deadline
            await asyncio.sleep(0.1)
    assert kept is not None
    assert kept.value == b"1"
    assert "a" in [each.id for each in await broker.pull(5, 2.0)]
