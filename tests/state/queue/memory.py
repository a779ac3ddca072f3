"""A broker inside the test, with the same promises as a real one, and faults on demand."""

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from penstock.state.queue.broker import BrokerAway, Depth, Held, Kept


@dataclass
class MemoryBroker:
    """`now` in seconds. What is held is handed out again `silent_s` after its holder last said something."""

    now: Callable[[], float]
    silent_s: float = 30.0
    most: int = 1000
    piece_bytes: int = 1 << 20
    away: bool = False
    """Every call fails."""
    doubts: list[str] = field(default_factory=list)
    values: dict[str, Kept] = field(default_factory=dict)
    waiting: list[tuple[str, float]] = field(default_factory=list)
    held: dict[str, tuple[str, float, float]] = field(default_factory=dict)
    """Receipt -> id, when its holder last said something, when it was pushed."""
    logs: dict[str, dict[int, bytes]] = field(default_factory=dict)
    receipts: int = 0

    def _check(self) -> None:
        if self.away:
            raise BrokerAway("away")

    async def open(self) -> list[str]:
        return self.doubts

    async def close(self) -> None: ...

    async def create(self, key: str, value: bytes) -> bool:
        self._check()
        return self.values.setdefault(key, Kept(value, 1)) is not None and self.values[key].value == value

    async def get(self, key: str) -> Kept | None:
        self._check()
        return self.values.get(key)

    async def swap(self, key: str, old: Kept, value: bytes) -> Kept | None:
        self._check()
        if self.values.get(key) != old:
            return None
        self.values[key] = Kept(value, old.revision + 1)
        return self.values[key]

    async def delete(self, key: str) -> None:
        self._check()
        self.values.pop(key, None)

    async def push(self, id_: str) -> bool:
        self._check()
        if len(self.waiting) + len(self.held) >= self.most:
            return False
        self.waiting.append((id_, self.now()))
        return True

    async def enqueue(self, id_: str, values: Mapping[str, bytes]) -> bool:
        if not await self.push(id_):
            return False
        for key, value in values.items():
            await self.create(key, value)
        return True

    def take(self, most: int) -> list[Held]:
        """`pull` without waiting."""
        silent = [receipt for receipt, (_, said, _) in self.held.items() if self.now() - said >= self.silent_s]
        back = [(self.held.pop(receipt)[0], self.now()) for receipt in silent]
        self.waiting[:0] = back
        found = []
        while self.waiting and len(found) < most:
            id_, pushed = self.waiting.pop(0)
            self.receipts += 1
            self.held[str(self.receipts)] = (id_, self.now(), pushed)
            found.append(Held(id_, str(self.receipts)))
        return found

    async def pull(self, most: int, wait_s: float) -> list[Held]:
        self._check()
        for _ in range(20):
            if found := self.take(most):
                return found
            await asyncio.sleep(wait_s / 100)
            self._check()
        return []

    async def extend(self, held: Held) -> None:
        self._check()
        if held.receipt in self.held:
            id_, _, pushed = self.held[held.receipt]
            self.held[held.receipt] = (id_, self.now(), pushed)

    async def give_back(self, held: Held, delay_s: float) -> None:
        self._check()
        if self.held.pop(held.receipt, None):
            self.waiting.append((held.id, self.now()))

    async def done(self, held: Held) -> None:
        self._check()
        self.held.pop(held.receipt, None)

    async def depth(self) -> Depth:
        self._check()
        times = [pushed for _, pushed in self.waiting] + [pushed for _, _, pushed in self.held.values()]
        return Depth(len(self.waiting), len(self.held), min(times, default=None))

    async def append(self, log: str, number: int, piece: bytes) -> None:
        self._check()
        self.logs.setdefault(log, {}).setdefault(number, piece)

    async def pieces(self, log: str, after: int, wait_s: float) -> list[bytes]:
        self._check()
        for _ in range(10):
            found = [piece for number, piece in sorted(self.logs.get(log, {}).items()) if number > after]
            if found:
                return found
            await asyncio.sleep(wait_s / 100)
        return []

    async def forget(self, log: str) -> None:
        self._check()
        self.logs.pop(log, None)
