"""Which shared documents a prompt holds, and their texts: what a retrieval-augmented request looks like to a cache."""

from bisect import bisect
from collections.abc import Sequence
from random import Random

from penstock.bench.traffic.prompts import Prompts, popularity
from penstock.bench.traffic.workload import Context

TRIES = 16
"""Draws that may meet a document that is held already, before what is left is looked through."""


class Documents:
    """Makes the contexts of one run."""

    def __init__(self, prompts: Prompts, seed: int) -> None:
        self._prompts = prompts
        self._seed = seed
        self._weights: dict[str, list[float]] = {}
        self._texts: dict[tuple[str, int], str] = {}

    def texts(self, kind: str, context: Context, rng: Random) -> list[str]:
        """Documents of a class, in the order in which they were drawn; each always has the same text."""
        if not context.tokens:
            return []
        if kind not in self._weights:
            self._weights[kind] = popularity(context.documents, context.zipf)
        chosen = drawn(self._weights[kind], context.per_request, rng)
        return [self._text(kind, number, context.tokens // context.per_request) for number in chosen]

    def _text(self, kind: str, number: int, tokens: int) -> str:
        place = (kind, number)
        if place not in self._texts:
            own = Random(f"{self._seed} {kind} document {number}")
            self._texts[place] = self._prompts.text(tokens, own, number + 1)
        return self._texts[place]


def drawn(weights: Sequence[float], count: int, rng: Random) -> list[int]:
    """`count` different numbers, one after the other, each by its weight among those that are left. `weights` are
    cumulative."""
    found: list[int] = []
    for _ in range(count):
        for _ in range(TRIES):
            number = bisect(weights, rng.random() * weights[-1])
            if number not in found:
                break
        else:
            left = [each for each in range(len(weights)) if each not in found]
            shares = [weights[each] - (weights[each - 1] if each else 0.0) for each in left]
            number = rng.choices(left, shares)[0] if any(shares) else left[0]
        found.append(number)
    return found
