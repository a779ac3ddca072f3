"""Prompts of exactly so many tokens, as the server's own tokenizer counts them.

A vocabulary of words is tried first: kept are those that add exactly one token behind a space. A text of n of them has
n tokens or nearly, and is then counted whole and mended: parts that were counted one by one may merge. The same seed
gives the same text, byte for byte, and no two prompts share more than the prefix they are meant to share.
"""

from collections.abc import Callable, Iterator, Sequence
from itertools import accumulate, islice
from random import Random
from typing import TypeAlias

from penstock.core.errors import PenstockError

Count: TypeAlias = Callable[[str], int]
"""Tokens of a text, without what a chat template adds."""
WORDS = (
    "river", "stone", "water", "mill", "valley", "bridge", "keeper", "gate", "wheel", "grain", "winter", "market",
    "road", "field", "harbor", "rope", "ladder", "barrel", "window", "garden", "meadow", "saddle", "anchor", "feather",
    "summer", "table", "paper", "letter", "number", "house", "village", "morning", "evening", "silver", "copper",
    "island", "forest", "mountain", "ocean", "desert", "engine", "signal", "station", "carriage", "captain", "doctor",
    "teacher", "farmer", "soldier", "painter", "writer", "singer", "dancer", "button", "pocket", "jacket", "kitchen",
    "corner", "ceiling", "carpet", "mirror", "candle", "basket", "bottle", "glass", "butter", "sugar", "pepper",
)  # fmt: skip
MENDS = 64
"""Times a text is lengthened or shortened before it is given up."""


class CannotCount(PenstockError):
    """No text of the wanted length can be made with this tokenizer."""


class Prompts:
    """Makes texts. `count` may be slow: it is asked once per word at the start, and once or twice per text."""

    def __init__(self, count: Count | None, words: Sequence[str] = WORDS) -> None:
        self._count = count
        self._words = list(words) if count is None else _single(count, words)

    @property
    def counted(self) -> bool:
        """Whether lengths are true: without a tokenizer a word is taken for a token."""
        return self._count is not None

    def text(self, tokens: int, rng: Random, mark: int = 0) -> str:
        """A text of `tokens` tokens. It begins with words that spell `mark`, so that texts of other marks differ early.

        Raises CannotCount.
        """
        return self.fitted(self.choose(tokens, rng, mark), tokens, self.further(rng))

    def extend(self, prefix: str, tokens: int, rng: Random, mark: int = 0) -> str:
        """`prefix` and a tail of its own, `tokens` in all. Raises CannotCount."""
        own = tokens - (len(prefix.split()) if self._count is None else self._count(prefix))
        if own < 1:
            raise CannotCount(f"a prefix leaves no room for a tail in a prompt of {tokens} tokens")
        return self.fitted(self.choose(own, rng, mark), tokens, self.further(rng), f"{prefix} ")

    def choose(self, words: int, rng: Random, mark: int) -> list[str]:
        """So many words, of which the first spell `mark`."""
        return [*_spelled(mark, self._words), *rng.choices(self._words, k=words)][:words]

    def further(self, rng: Random) -> Iterator[str]:
        """Words without end."""
        while True:
            yield rng.choices(self._words)[0]

    def fitted(self, words: list[str], tokens: int, more: Iterator[str], before: str = "") -> str:
        """`before` and `words`, lengthened by `more` or shortened at the end until they are `tokens` tokens in all.

        Raises CannotCount.
        """
        for _ in range(MENDS):
            text = before + " ".join(words)
            off = 0 if self._count is None else tokens - self._count(text)
            if not off:
                return text
            if off < 0:
                del words[max(1, len(words) + off) :]
            else:
                words += islice(more, off)
        raise CannotCount(f"no text of {tokens} tokens could be made with the server's tokenizer")


def popularity(count: int, zipf: float) -> list[float]:
    """Cumulative weights of `count` things whose popularity falls as rank^-zipf; 0: all alike."""
    return list(accumulate((rank + 1) ** -zipf for rank in range(count)))


def _single(count: Count, words: Sequence[str]) -> list[str]:
    first = words[0]
    base = count(first)
    found = [word for word in words if count(f"{first} {word}") == base + 1]
    if len(found) < 8:
        raise CannotCount("the server's tokenizer has too few of the known words as single tokens")
    return found


def _spelled(mark: int, words: Sequence[str]) -> list[str]:
    """`mark` in the base of the vocabulary, lowest digit first; nothing for 0."""
    found = []
    while mark:
        mark, digit = divmod(mark, len(words))
        found.append(words[digit])
    return found
