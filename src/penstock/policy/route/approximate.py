"""Prefix index from what this router sent where: no help from the engine needed.

How much an engine's cache holds is stated, or assumed; where answers tell how much of their prompts was cached, they
correct it. A cache that is believed larger than it is makes every engine a holder of every prompt: requests then go by
load alone, each to an engine that has just dropped its prompt, and nothing ends that.
"""

from collections import OrderedDict
from collections.abc import Sequence

from penstock.policy.route.prefix import block_size, covered

_FEW_ENTRIES = 8
"""A shorter chain says too little about bytes per token: the rest after its last block weighs too much."""
_SETTLED_S = 5.0
"""A prompt is believed cached for so long before its absence says something: the request that brings it may not have
been read yet."""
_TELLING_TOKENS = 128
"""Believed cached before an answer; fewer may be lost to the engine's own rounding."""
_LEAST_TOKENS = 1024.0
"""No cache is believed smaller: below a prompt's length nothing could be learnt that makes it larger again."""
_SHRINK, _GROW = 0.8, 1.02
"""What a miss and a hit make of the room. They balance at one miss in twelve."""
_RATE = 0.05
_BYTES_PER_TOKEN = (1.0, 16.0)


class _Cache:
    """What one engine is believed to have."""

    __slots__ = ("held", "limit", "reports", "shrunk_at", "used")

    def __init__(self) -> None:
        self.used: OrderedDict[int, tuple[int, float]] = OrderedDict()
        """Entry -> (bytes, since when it has been believed), the latest used last."""
        self.held = 0
        """Bytes."""
        self.limit = float("inf")
        """Tokens that it seems to hold, whatever is stated."""
        self.shrunk_at = float("-inf")
        self.reports = False
        """Its answers tell how much of their prompts was cached."""


class ApproximateIndex:
    """Hash -> engines, and per engine the order of last use, bounded by its KV capacity.

    An entry is always used later than those below it, so eviction takes the ends of chains first and an engine that
    has an entry has all before it.
    """

    def __init__(self, block_bytes: int, bytes_per_token: float) -> None:
        self._block_bytes = block_bytes
        self._bytes_per_token = bytes_per_token
        self._learnt = 0
        """Answers that `_bytes_per_token` was learnt from, until one counts as little as any later one."""
        self._engines: dict[int, int] = {}
        self._caches: dict[int, _Cache] = {}

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

    def note(self, bit: int, chain: Sequence[int], capacity: float, now: float) -> None:
        """A request with this chain went to the engine, whose cache is said to hold `capacity` tokens."""
        cache = self._caches.get(bit)
        if cache is None:
            cache = self._caches[bit] = _Cache()
        room = int(min(capacity, cache.limit) * self._bytes_per_token)
        depth = len(chain)
        while depth and covered(depth, self._block_bytes) > room:
            depth -= 1
        used, table = cache.used, self._engines
        move = used.move_to_end
        for index in range(depth - 1, -1, -1):
            entry = chain[index]
            if entry in used:
                move(entry)
            else:
                size = block_size(index, self._block_bytes)
                used[entry] = (size, now)
                cache.held += size
                table[entry] = table.get(entry, 0) | bit
        if cache.held > room:
            self._evict(bit, cache, room)

    def answered(self, bit: int, chain: Sequence[int], began: float, cached: int, capacity: float, now: float) -> None:
        """An engine answered a request that began then; `cached` of its prompt's tokens it had, 0 may mean that it does
        not tell. Corrects what its cache holds, which is said to be `capacity` tokens.

        Once for all requests that began before: what they missed was gone together.
        """
        cache = self._caches.get(bit)
        if cache is None:
            return
        if cached:
            cache.reports = True
        if not cache.reports or began <= cache.shrunk_at:
            return
        settled = began - _SETTLED_S
        depth = next((i for i, entry in enumerate(chain) if cache.used.get(entry, (0, now))[1] > settled), len(chain))
        believed = self.tokens(depth)
        if believed < _TELLING_TOKENS:
            return
        if cached >= believed / 2:
            if cache.limit < capacity:
                cache.limit *= _GROW
            return
        held = cache.held / self._bytes_per_token
        cache.limit = max(_LEAST_TOKENS, _SHRINK * min(capacity, cache.limit, held))
        cache.shrunk_at = now
        self._evict(bit, cache, int(cache.limit * self._bytes_per_token))

    def forget(self, bit: int) -> None:
        """The engine left, or its cache was dropped."""
        cache = self._caches.pop(bit, None)
        if cache is not None:
            self._evict(bit, cache, 0)

    def tokens(self, depth: int) -> float:
        """Estimate of the tokens in the first `depth` entries."""
        return covered(depth, self._block_bytes) / self._bytes_per_token

    @property
    def bytes_per_token(self) -> float:
        """Prompt bytes in a token, as usage tells."""
        return self._bytes_per_token

    def learn(self, depth: int, tokens: int) -> None:
        """A prompt of `depth` whole blocks had so many tokens, by the usage of its answer; 0 when it did not say."""
        if depth < _FEW_ENTRIES or tokens <= 0:
            return
        seen = (covered(depth, self._block_bytes) + block_size(depth, self._block_bytes) / 2) / tokens
        low, high = _BYTES_PER_TOKEN
        if self._learnt < 1 / _RATE:
            self._learnt += 1
        self._bytes_per_token += (min(high, max(low, seen)) - self._bytes_per_token) / self._learnt

    def held_bytes(self, bit: int) -> int:
        """Prompt bytes believed to be in the engine's cache."""
        cache = self._caches.get(bit)
        return cache.held if cache is not None else 0

    def _evict(self, bit: int, cache: _Cache, room: int) -> None:
        """Until no more than `room` bytes are held."""
        while cache.held > room:
            entry, (size, _) = cache.used.popitem(last=False)
            cache.held -= size
            left = self._engines[entry] & ~bit
            if left:
                self._engines[entry] = left
            else:
                del self._engines[entry]
