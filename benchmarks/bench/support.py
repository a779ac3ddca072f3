"""The workload of `three_x`: a support bot. A few long prompts that every question begins with, short answers."""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Iterable, Iterator
from random import Random
from typing import NamedTuple

import msgspec

from penstock.bench.sample import Planned
from penstock.bench.traffic.lengths import Fixed
from penstock.bench.traffic.plan import Planner
from penstock.bench.traffic.prompts import Prompts
from penstock.bench.traffic.workload import Closed, Kind, Prefix, Workload

PROMPTS, PROMPT_TOKENS, QUESTION_TOKENS, ANSWER_TOKENS = 4, 800, 40, 16
BATCH, BATCHES = 64, 10_000
"""Questions are made as they are needed."""
WHAT = (
    f"{PROMPTS} prompts of {PROMPT_TOKENS} tokens (instructions and documents), each as likely, every one followed by "
    f"a question of {QUESTION_TOKENS} tokens that nothing repeats; answers of {ANSWER_TOKENS} tokens, streamed"
)


def questions(model: str, prompts: Prompts, seed: int = 1) -> Iterator[Planned]:
    """Requests without end, each with a question of its own; `kind` names the prompt that it begins with.

    Same seed: same bytes. Raises CannotCount.
    """
    kinds = tuple(
        Kind(
            f"prompt{number}",
            Fixed(PROMPT_TOKENS + QUESTION_TOKENS),
            Fixed(ANSWER_TOKENS),
            prefix=Prefix(PROMPT_TOKENS),
        )
        for number in range(PROMPTS)
    )
    workload = Workload(kinds, (Closed(1, BATCH),) * BATCHES, model, seed=seed)
    for plan in Planner(workload, model, prompts).stages():
        yield from plan.requests


class Deck:
    """Questions that one server has not been asked yet."""

    def __init__(self, questions: Iterator[Planned]) -> None:
        self._questions = questions
        self._left: dict[str, deque[Planned]] = defaultdict(deque)

    def deal(self, order: Iterable[tuple[str, float | None]]) -> list[Planned]:
        """The next questions to these prompts, due then."""
        return [msgspec.structs.replace(self._next(kind), due=due) for kind, due in order]

    def _next(self, kind: str) -> Planned:
        while not self._left[kind]:
            made = next(self._questions)
            self._left[made.kind].append(made)
        return self._left[kind].popleft()


class Asked(NamedTuple):
    due: float
    """Seconds since the trial began."""
    kind: str
    """The prompt that the question begins with."""


def poisson(rate: float, seconds: float, seed: int) -> list[Asked]:
    """A Poisson process of `rate`, given that it has rate x seconds points. A higher rate adds points to those of a
    lower one, so that p95 rises with it."""
    rng = Random(seed)
    points = [Asked(rng.random() * seconds, _prompt(rng)) for _ in range(max(1, round(rate * seconds)))]
    return sorted(points)


def order(count: int, seed: int) -> list[str]:
    """Which prompts are asked, in a closed loop."""
    rng = Random(seed)
    return [_prompt(rng) for _ in range(count)]


def _prompt(rng: Random) -> str:
    return f"prompt{rng.randrange(PROMPTS)}"
