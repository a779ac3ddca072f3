"""What a vLLM says of its KV cache, as it happens. The one place that imports zmq (extra `kv-events`).

vLLM is started with `--kv-events-config`; it publishes on one socket (PUB) and sends past batches again on another
(ROUTER), each as frames of topic, number and msgpack.
"""

import asyncio
from collections import deque
from collections.abc import AsyncIterator
from types import TracebackType

import zmq
import zmq.asyncio

from penstock.engines.kv_batches import Batch, Cleared, Event, Gap, Order, Removed, Stored, read_batch

__all__ = ["Cleared", "Event", "Gap", "KvEvents", "Removed", "Stored"]

REPLAY_TIMEOUT_S = 5.0
"""For each message of a replay. vLLM looks for requests ten times a second."""
QUEUED = 100_000
"""Batches that may wait for us before zmq drops them: as many as vLLM queues itself."""
END = -1
"""Number of the message that ends a replay."""


class KvEvents:
    """The events of one publisher. An async context manager, and an async iterator without end.

    Begins with what the publisher still remembers, where there is a replay address. A publisher that restarts shows
    as Cleared; batches lost for good show as Gap, and so do those before the beginning.
    """

    def __init__(self, publisher: str, replay: str = "", topic: str = "") -> None:
        """Addresses to connect to, e.g. `tcp://10.0.0.5:5557`; without a replay address each loss is a Gap."""
        self._publisher = publisher
        self._replay = replay
        self._topic = topic
        self._order = Order()
        self._context = zmq.asyncio.Context()
        self._live: zmq.asyncio.Socket | None = None
        self._waiting: deque[Event] = deque()
        self._begun = False

    @property
    def last(self) -> int:
        """Number of the last batch taken; -1 before the first."""
        return self._order.expected - 1

    async def __aenter__(self) -> "KvEvents":
        """Raises OSError for an address that cannot be connected to. One where nobody listens is waited for."""
        self._live = self._context.socket(zmq.SUB)
        self._live.set_hwm(QUEUED)
        self._live.subscribe(self._topic)
        try:
            self._live.connect(self._publisher)
        except zmq.ZMQError as error:
            raise OSError(f"{self._publisher}: {error}") from error
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._live is not None:
            self._live.close(linger=0)
        self._context.term()

    def __aiter__(self) -> AsyncIterator[Event]:
        return self

    async def __anext__(self) -> Event:
        if not self._begun:
            self._begun = True
            await self._ask_again()
        while not self._waiting:
            await self._take(await self._next_batch())
        return self._waiting.popleft()

    async def _next_batch(self) -> Batch:
        assert self._live is not None
        frames = await self._live.recv_multipart()
        return _batch(frames) or Batch(self._order.expected, 0.0, (Gap(1),))

    async def _take(self, batch: Batch) -> None:
        missing = self._order.missing(batch)
        if self._order.restarted(batch):
            self._waiting.append(Cleared())
        if missing:
            await self._ask_again()
        self._waiting.extend(self._order.live(batch))

    async def _ask_again(self) -> None:
        """Takes what a replay has from the expected number on. One that does not answer leaves things as they are."""
        batches = await self._replayed(self._order.expected) if self._replay else []
        self._waiting.extend(self._order.replayed(batches))

    async def _replayed(self, first: int) -> list[Batch]:
        # A socket for each replay: an answer that comes late cannot be taken for the next one's.
        socket = self._context.socket(zmq.DEALER)
        batches: list[Batch] = []
        try:
            socket.set_hwm(QUEUED)
            socket.connect(self._replay)
            await socket.send_multipart([b"", first.to_bytes(8, "big")])
            while True:
                async with asyncio.timeout(REPLAY_TIMEOUT_S):
                    batch = _batch(await socket.recv_multipart())
                if batch is None or batch.number == END:
                    return batches
                batches.append(batch)
        except TimeoutError:
            return batches
        finally:
            socket.close(linger=0)


def _batch(frames: list[bytes]) -> Batch | None:
    """The last two frames are number and payload; how many come before differs by version. None for other things."""
    if len(frames) < 2 or len(frames[-2]) != 8:
        return None
    number = int.from_bytes(frames[-2], "big", signed=True)
    return Batch(END, 0.0, ()) if number < 0 else read_batch(number, frames[-1])
