"""KV events: the shapes they come in, losses, replays, publishers that restart."""

import asyncio
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager

import msgspec
import pytest
import zmq
import zmq.asyncio
from hypothesis import given
from hypothesis import strategies as st

from penstock.engines import kv_events
from penstock.engines.kv_batches import Batch, Cleared, Event, Gap, Order, Removed, Stored, read_batch
from penstock.engines.kv_events import KvEvents

pack = msgspec.msgpack.encode


def test_both_shapes_say_the_same() -> None:
    stored = {
        "type": "BlockStored", "block_hashes": [b"\1", b"\2"], "parent_block_hash": None, "token_ids": [5, 6, 7, 8],
        "block_size": 2, "lora_id": 1, "medium": "GPU", "lora_name": "red", "later_field": [1],
    }  # fmt: skip
    removed = {"type": "BlockRemoved", "block_hashes": [7], "medium": "GPU"}
    mappings = [1.5, [stored, removed, {"type": "AllBlocksCleared"}, {"type": "New"}], 0]
    arrays = [
        1.5,
        [
            ["BlockStored", [b"\1", b"\2"], None, [5, 6, 7, 8], 2, 1, "GPU", "red", None],
            ["BlockRemoved", [7], "GPU"],
            ["AllBlocksCleared"],
        ],
    ]
    expected = (
        Stored((b"\1", b"\2"), None, (5, 6, 7, 8), 2, "red", "GPU"),
        Removed((7,), "GPU"),
        Cleared(),
    )
    assert read_batch(3, pack(mappings)) == read_batch(3, pack(arrays)) == Batch(3, 1.5, expected)
    oldest = [1.5, [["BlockStored", [9], 8, [1, 2], 2, None]]]
    assert read_batch(0, pack(oldest)).events == (Stored((9,), 8, (1, 2), 2),)


@given(
    st.binary() | st.recursive(st.integers(0, 9) | st.text(), st.lists, max_leaves=8).map(lambda x: pack([1.0, [x]]))
)
def test_junk_is_at_most_a_loss(payload: bytes) -> None:
    assert all(event == Gap(1) for event in read_batch(0, payload).events)


def batch(number: int, life: int = 0) -> Batch:
    """A batch whose one event tells its number; another life of the publisher has other times."""
    return Batch(number, life * 1000.0 + number, (Removed((number,)),))


def take(order: Order, one: Batch, memory: Iterable[Batch]) -> list[Event]:
    """What a follower does with a live batch, given what a replay would bring."""
    missing = order.missing(one)
    events: list[Event] = [Cleared()] if order.restarted(one) else []
    if missing:
        events += order.replayed([old for old in memory if old.number >= order.expected])
    return events + list(order.live(one))


@given(st.integers(1, 30).flatmap(lambda n: st.tuples(st.just(n), st.sets(st.integers(0, n - 1)), st.integers(0, 30))))
def test_each_batch_is_delivered_once_in_order_or_reported_lost(case: tuple[int, set[int], int]) -> None:
    """Live batches are dropped at random; the publisher remembers only the last few."""
    published, dropped, remembered = case
    order, seen = Order(), []
    for number in range(published):
        if number not in dropped:
            memory = [batch(old) for old in range(max(0, number - remembered + 1), number + 1)]
            seen += take(order, batch(number), memory)
    delivered = [event.hashes[0] for event in seen if isinstance(event, Removed)]
    lost = sum(event.batches for event in seen if isinstance(event, Gap))
    last = max(set(range(published)) - dropped, default=-1)
    assert delivered == sorted(set(delivered))
    assert len(delivered) + lost == last + 1
    assert not (dropped and remembered >= published and lost)


@pytest.mark.parametrize("first", [0, 2])
def test_a_new_publisher_empties_what_was_known(first: int) -> None:
    order = Order()
    for number in range(5):
        take(order, batch(number), [])
    memory = [batch(number, life=1) for number in range(first + 1)]
    events = take(order, batch(first, life=1), memory)
    assert events == [Cleared(), *(Removed((number,)) for number in range(first + 1))]
    assert take(order, batch(first + 1, life=1), []) == [Removed((first + 1,))]


class Publisher:
    """vLLM's side: PUB with numbered batches, ROUTER that sends them again."""

    def __init__(self, context: zmq.asyncio.Context, deaf: bool = False) -> None:
        self._live = context.socket(zmq.PUB)
        self._router = context.socket(zmq.ROUTER)
        self.addresses = [
            f"tcp://127.0.0.1:{s.bind_to_random_port('tcp://127.0.0.1')}" for s in (self._live, self._router)
        ]
        self._memory: list[tuple[int, bytes]] = []
        self._deaf = deaf
        self.asked: list[int] = []

    async def publish(self, number: int, *, lost: bool = False) -> None:
        payload = pack([float(number), [{"type": "BlockRemoved", "block_hashes": [number]}]])
        self._memory.append((number, payload))
        if not lost:
            await self._live.send_multipart([b"", number.to_bytes(8, "big"), payload])

    async def replay(self) -> None:
        while True:
            client, _, first = await self._router.recv_multipart()
            self.asked.append(int.from_bytes(first, "big"))
            if self._deaf:
                continue
            for number, payload in self._memory:
                if number >= self.asked[-1]:
                    await self._router.send_multipart([client, b"", b"", number.to_bytes(8, "big"), payload])
            await self._router.send_multipart([client, b"", b"", (-1).to_bytes(8, "big", signed=True), b""])

    def close(self) -> None:
        self._live.close(linger=0)
        self._router.close(linger=0)


@asynccontextmanager
async def publishing(deaf: bool = False) -> AsyncIterator[Publisher]:
    context = zmq.asyncio.Context()
    publisher = Publisher(context, deaf)
    replaying = asyncio.ensure_future(publisher.replay())
    try:
        yield publisher
    finally:
        replaying.cancel()
        await asyncio.wait([replaying])
        publisher.close()
        context.term()


@pytest.mark.anyio
async def test_a_late_subscriber_gets_the_past_and_what_it_missed() -> None:
    async with publishing() as publisher, asyncio.timeout(20):
        await publisher.publish(0)
        await publisher.publish(1)
        async with KvEvents(*publisher.addresses) as events:
            assert [await anext(events) for _ in range(2)] == [Removed((0,)), Removed((1,))]
            await publisher.publish(2, lost=True)
            asking = asyncio.ensure_future(anext(events))
            number = 3
            while not asking.done():  # until the subscription has reached the publisher
                await publisher.publish(number)
                number += 1
                await asyncio.wait([asking], timeout=0.1)
            assert asking.result() == Removed((2,))
            assert publisher.asked == [0, 2]
            assert await anext(events) == Removed((3,))


@pytest.mark.anyio
async def test_without_an_answer_the_loss_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kv_events, "REPLAY_TIMEOUT_S", 0.2)
    async with publishing(deaf=True) as publisher, asyncio.timeout(20), KvEvents(*publisher.addresses) as events:
        asking = asyncio.ensure_future(anext(events))
        number = 5
        while not asking.done():
            await publisher.publish(number)
            number += 1
            await asyncio.wait([asking], timeout=0.1)
        first = asking.result()
        assert isinstance(first, Gap)
        assert first.batches >= 5
        assert await anext(events) == Removed((first.batches,))
