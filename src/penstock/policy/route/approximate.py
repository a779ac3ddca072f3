"""Prefix index from what this router sent where: no help from the engine needed."""

from collections import OrderedDict
from collections.abc import Sequence

from penstock.policy.route.prefix import block_size, covered

_FEW_ENTRIES = 8
"""A shorter chain says too little about bytes per token: the rest after its last block weighs too much."""
_RATE = 0.05
_BYTES_PER_TOKEN = (1.0, 16.0)


class ApproximateIndex:
    """Hash -> engines, and per engine the order of last use, bounded by its KV capacity.

    An entry is always used later than those below it, so eviction takes the ends of chains first and an engine that
    has an entry has all before it.
    """

    def __init__(self, block_bytes: int, bytes_per_token: float) -> None:
        self._block_bytes = block_bytes
        self._bytes_per_token = bytes_per_token
        self._engines: dict[int, int] = {}
        self._used: dict[int, OrderedDict[int, int]] = {}
        self._held: dict[int, int] = {}

    def lookup(self, chain: Sequence[int]) -> list[int]:
        """For each entry from the first, the engines that have everything up to it; ends before the first nobody has.

        Each mask is a subset of the one before it.
        """
        table = self._engines
        if not chain or chain[0] not in table:
            return []
        low, high = 1, len(chain)
        while low < high:
            middle = (low + high) // 2
            if chain[middle] in table:
                low = middle + 1
            else:
                high = middle
        return list(map(table.__getitem__, chain[:low]))

    def note(self, bit: int, chain: Sequence[int], capacity: float) -> None:
        """A request with this chain went to the engine, whose cache holds `capacity` tokens."""
        room = int(capacity * self._bytes_per_token)
        depth = len(chain)
        while depth and covered(depth, self._block_bytes) > room:
            depth -= 1
        used = self._used.setdefault(bit, OrderedDict())
        held = self._held.get(bit, 0)
        table, move = self._engines, used.move_to_end
        for index in range(depth - 1, -1, -1):
            entry = chain[index]
            if entry in used:
                move(entry)
            else:
                size = used[entry] = block_size(index, self._block_bytes)
                held += size
                table[entry] = table.get(entry, 0) | bit
        while held > room:
            entry, size = used.popitem(last=False)
            held -= size
            self._drop(bit, entry)
        self._held[bit] = held

    def forget(self, bit: int) -> None:
        """The engine left, or its cache was dropped."""
        self._held.pop(bit, None)
        for entry in self._used.pop(bit, ()):
            self._drop(bit, entry)

    def tokens(self, depth: int) -> float:
        """Estimate of the tokens in the first `depth` entries."""
        return covered(depth, self._block_bytes) / self._bytes_per_token

    def learn(self, depth: int, tokens: int) -> None:
        if depth < _FEW_ENTRIES or tokens <= 0:
            return
        seen = (covered(depth, self._block_bytes) + block_size(depth, self._block_bytes) / 2) / tokens
        low, high = _BYTES_PER_TOKEN
        self._bytes_per_token += _RATE * (min(high, max(low, seen)) - self._bytes_per_token)

    def held_bytes(self, bit: int) -> int:
        """Prompt bytes believed to be in the engine's cache."""
        return self._held.get(bit, 0)

    def _drop(self, bit: int, entry: int) -> None:
        left = self._engines[entry] & ~bit
        if left:
            self._engines[entry] = left
        else:
            del self._engines[entry]
