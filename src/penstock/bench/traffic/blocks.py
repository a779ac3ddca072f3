"""Prompts whose beginnings are shared block by block, as the hash ids of a trace say."""

from collections.abc import Sequence
from itertools import chain
from random import Random

from penstock.bench.traffic.prompts import Prompts


class Blocks:
    """Each id stands for one text of `size` words: the same seed and id give the same one, whatever comes before it."""

    def __init__(self, prompts: Prompts, seed: int, size: int) -> None:
        self._prompts = prompts
        self._seed = seed
        self._size = size

    def text(self, ids: Sequence[int], tokens: int, rng: Random, mark: int) -> str:
        """A prompt of `tokens` tokens. Where there are ids for all of it, it depends on them alone; what has no id is
        `mark`'s own. Only the end is mended to the exact length. Raises CannotCount."""
        words: list[str] = []
        own = rng
        for number in ids[: -(-tokens // self._size)]:
            own = Random(f"{self._seed} block {number}")
            words += self._prompts.choose(self._size, own, number + 1)
        if len(words) < tokens:
            own = rng
            words += self._prompts.choose(tokens - len(words), rng, mark)
        more = chain(words[tokens:], self._prompts.further(own))  # the rest of the last block first
        return self._prompts.fitted(words[:tokens], tokens, more)
