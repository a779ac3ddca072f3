"""What is in one engine's KV cache, by its events, in entries of token chains. Pure.

An engine's own hash of a block is only a name here: of the block before another, and of the one that is removed.
"""

from collections.abc import Collection

from penstock.engines.kv_batches import BlockHash, Removed, Stored
from penstock.policy.route.tokens import following, root

WHOLE = frozenset({"", "full_attention", "mla_attention", "sink_full_attention"})
"""Kinds of attention whose cache has a whole prompt. A window's or a state's blocks say nothing of the beginning."""

Copy = tuple[BlockHash, int, str]
"""Hash, group of layers, and medium."""


class EngineBlocks:
    """Follows `stored`, `removed` and `clear` in the order of the events.

    Left out are blocks into which more went than tokens and an adapter (images, salts), those after them, and those
    whose predecessor is not known.
    """

    def __init__(self) -> None:
        self.block_tokens = 0
        """Tokens of a block, as last told; 0 before that."""
        self._entry_of: dict[BlockHash, int] = {}
        self._copies: dict[Copy, int] = {}
        """An engine may hold a block several times, and tells of each copy that comes or goes."""
        self._copies_of: dict[BlockHash, int] = {}
        self._names: dict[int, int] = {}
        """Entry -> hashes that stand for it."""

    @property
    def entries(self) -> Collection[int]:
        """All that is in the cache."""
        return self._names.keys()

    def stored(self, event: Stored) -> list[int]:
        """The entries that are new in the cache."""
        size = event.block_tokens
        if event.kind not in WHOLE or size < 1 or len(event.tokens) != size * len(event.hashes):
            return []
        before = root(event.adapter) if event.parent is None else self._entry_of.get(event.parent)
        if before is None:
            return []
        try:
            entries = following(before, event.tokens, size)
        except (OverflowError, TypeError):
            return []
        self.block_tokens = size
        came = []
        for index, (name, entry) in enumerate(zip(event.hashes, entries, strict=True)):
            if event.own[index : index + 1] == (True,):
                break
            if self._add((name, event.group, event.medium), entry):
                came.append(entry)
        return came

    def _add(self, copy: Copy, entry: int) -> bool:
        """Whether the entry is new."""
        name = copy[0]
        self._copies[copy] = self._copies.get(copy, 0) + 1
        total = self._copies_of.get(name, 0)
        self._copies_of[name] = total + 1
        if total:
            return False
        self._entry_of[name] = entry
        names = self._names.get(entry, 0)
        self._names[entry] = names + 1
        return not names

    def removed(self, event: Removed) -> list[int]:
        """The entries that are no longer in the cache."""
        gone = []
        for name in event.hashes:
            copy = (name, event.group, event.medium)
            left = self._copies.get(copy, 0) - 1
            if left < 0:
                continue  # one that was left out
            if left:
                self._copies[copy] = left
            else:
                del self._copies[copy]
            entry = self._take(name)
            if entry is not None:
                gone.append(entry)
        return gone

    def _take(self, name: BlockHash) -> int | None:
        """One copy less; the entry, if it was the last."""
        left = self._copies_of[name] - 1
        if left:
            self._copies_of[name] = left
            return None
        del self._copies_of[name]
        entry = self._entry_of.pop(name)
        names = self._names[entry] - 1
        if names:
            self._names[entry] = names
            return None
        del self._names[entry]
        return entry

    def clear(self) -> None:
        """The cache is empty, or nothing is known of it any more."""
        self._entry_of.clear()
        self._copies.clear()
        self._copies_of.clear()
        self._names.clear()
