"""Prefix index from the KV events of the engines: what is cached, not what should be.

The chain of an `Ask` must then be made of the engines' own block hashes.
"""

from collections.abc import Collection, Sequence
from itertools import accumulate, takewhile
from operator import and_


class PreciseIndex:
    """Hash -> engines, as the engines tell. `note` does nothing: an engine reports what it stored."""

    def __init__(self, block_tokens: int) -> None:
        self._block_tokens = block_tokens
        self._engines: dict[int, int] = {}
        self._stored: dict[int, set[int]] = {}

    def lookup(self, chain: Sequence[int]) -> list[int]:
        get = self._engines.get
        masks = accumulate((get(entry, 0) for entry in chain), and_)
        return list(takewhile(bool, masks))

    def note(self, bit: int, chain: Sequence[int], capacity: float) -> None:
        """The engine's own events tell."""

    def forget(self, bit: int) -> None:
        self.removed(bit, self._stored.pop(bit, ()))

    def tokens(self, depth: int) -> float:
        return float(depth * self._block_tokens)

    def learn(self, depth: int, tokens: int) -> None:
        """A block's tokens are known."""

    def stored(self, bit: int, hashes: Sequence[int], parent: int | None) -> None:
        """Blocks after a parent that is not there are kept: they count once the parent is stored (again)."""
        own = self._stored.setdefault(bit, set())
        own.update(hashes)
        for entry in hashes:
            self._engines[entry] = self._engines.get(entry, 0) | bit

    def removed(self, bit: int, hashes: Collection[int]) -> None:
        own = self._stored.get(bit)
        for entry in hashes:
            if own is not None:
                own.discard(entry)
            left = self._engines.get(entry, 0) & ~bit
            if left:
                self._engines[entry] = left
            else:
                self._engines.pop(entry, None)

    def held(self, bit: int) -> int:
        """Blocks in the engine's cache."""
        return len(self._stored.get(bit, ()))
