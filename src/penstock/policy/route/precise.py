"""Prefix index from the KV events of the engines: what is cached, not what should be.

An engine tells what it has computed, not what it is about to: until a request ends, its prompt counts as cached where
it was sent, as those that come meanwhile would otherwise spread over all engines.
"""

from collections.abc import Iterable, Sequence
from itertools import accumulate, takewhile
from operator import and_

from penstock.policy.route.tokens import covered


class PreciseIndex:
    """Entry of a token chain -> engines, as bits."""

    def __init__(self) -> None:
        self._engines: dict[int, int] = {}
        self._stored: dict[int, set[int]] = {}
        self._expected: dict[int, dict[int, int]] = {}
        """Per engine the entries of prompts in flight there, and in how many."""

    def lookup(self, chain: Sequence[int]) -> list[int]:
        """For each entry from the first, the engines that have everything up to it; ends before the first nobody has.

        Each mask is a subset of the one before it.
        """
        get = self._engines.get
        masks = accumulate((get(entry, 0) for entry in chain), and_)
        return list(takewhile(bool, masks))

    def stored(self, bit: int, entries: Iterable[int]) -> None:
        """They came into the engine's cache."""
        own = self._stored.setdefault(bit, set())
        for entry in entries:
            own.add(entry)
            self._engines[entry] = self._engines.get(entry, 0) | bit

    def removed(self, bit: int, entries: Iterable[int]) -> None:
        """They left the engine's cache. Unknown ones are ignored."""
        own, expected = self._stored.get(bit, set()), self._expected.get(bit, {})
        for entry in entries:
            own.discard(entry)
            if entry not in expected:
                self._drop(bit, entry)

    def cleared(self, bit: int) -> None:
        """The engine's cache is empty, or nothing is known of it any more."""
        self.removed(bit, self._stored.pop(bit, ()))

    def expect(self, bit: int, chain: Iterable[int]) -> None:
        """A request with this chain went to the engine."""
        expected = self._expected.setdefault(bit, {})
        for entry in chain:
            expected[entry] = expected.get(entry, 0) + 1
            self._engines[entry] = self._engines.get(entry, 0) | bit

    def settle(self, bit: int, chain: Iterable[int]) -> None:
        """That request has ended: what it left behind is for the engine to tell."""
        own, expected = self._stored.get(bit, ()), self._expected.get(bit, {})
        for entry in chain:
            left = expected.pop(entry, 0) - 1
            if left > 0:
                expected[entry] = left
            elif left == 0 and entry not in own:
                self._drop(bit, entry)

    def forget(self, bit: int) -> None:
        """The engine left."""
        expected = self._expected.pop(bit, {})
        self.cleared(bit)
        for entry in expected:
            self._drop(bit, entry)

    def held(self, bit: int) -> int:
        """Entries in the engine's cache, as it tells."""
        return len(self._stored.get(bit, ()))

    def _drop(self, bit: int, entry: int) -> None:
        left = self._engines.get(entry, 0) & ~bit
        if left:
            self._engines[entry] = left
        else:
            self._engines.pop(entry, None)


def blended(told: list[int], chain: Sequence[int], guessed: Sequence[int], tokens: Sequence[float]) -> list[int]:
    """`told` with the guesses of another index added: `guessed[i]` are engines that should have `tokens[i]` tokens.

    For engines whose events are lost or that tell none. Both must be as `lookup` returns them, and so is the answer.
    """
    masks: list[int] = []
    at = 0
    for depth, entry in enumerate(chain):
        end = covered(entry)
        while at < len(guessed) and tokens[at] < end:
            at += 1
        mask = (told[depth] if depth < len(told) else 0) | (guessed[at] if at < len(guessed) else 0)
        if not mask:
            break
        masks.append(mask)
    return masks
