"""The workload of `three_x`: a support bot. A few long prompts that every question begins with, short answers."""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Sequence
from random import Random

import msgspec

from penstock.bench.sample import Planned
from penstock.bench.traffic.lengths import Fixed
from penstock.bench.traffic.plan import Planner
from penstock.bench.traffic.prompts import Prompts
from penstock.bench.traffic.workload import Closed, Kind, Prefix, Workload

PROMPTS, PROMPT_TOKENS, QUESTION_TOKENS, ANSWER_TOKENS = 4, 600, 40, 16
WHAT = (
    f"{PROMPTS} prompts of {PROMPT_TOKENS} tokens (instructions and documents), each as likely, every one followed by "
    f"a question of {QUESTION_TOKENS} tokens that nothing repeats; answers of {ANSWER_TOKENS} tokens, streamed"
)


def questions(model: str, prompts: Prompts, count: int, seed: int = 1) -> list[Planned]:
    """Requests, each with a question of its own; `kind` names the prompt that it begins with. Raises CannotCount."""
    kinds = tuple(
        Kind(
            f"prompt{number}", Fixed(PROMPT_TOKENS + QUESTION_TOKENS), Fixed(ANSWER_TOKENS),
            prefix=Prefix(PROMPT_TOKENS),
        )
        for number in range(PROMPTS)
    )  # fmt: skip
    workload = Workload(kinds, (Closed(1, count),), model, seed=seed)
    (plan,) = Planner(workload, model, prompts).stages()
    return plan.requests


class Deck:
    """Questions that one server has not seen yet, by prompt."""

    def __init__(self, requests: Sequence[Planned]) -> None:
        self._left: dict[str, deque[Planned]] = defaultdict(deque)
        for request in requests:
            self._left[request.kind].append(request)

    def deal(self, order: Sequence[str], due: Sequence[float | None]) -> list[Planned]:
        """The next questions to the prompts in `order`. Raises IndexError when there are no more."""
        return [
            msgspec.structs.replace(self._left[kind].popleft(), due=at) for kind, at in zip(order, due, strict=True)
        ]


def order(count: int, seed: int) -> list[str]:
    """Which prompts are asked."""
    rng = Random(f"{seed} order")
    return [f"prompt{rng.randrange(PROMPTS)}" for _ in range(count)]


def moments(count: int, rate: float, seed: int) -> list[float]:
    """A Poisson process of `rate`, given that it has `count` points in count / rate seconds; the rate stretches it."""
    rng = Random(f"{seed} moments")
    return sorted(rng.random() * count / rate for _ in range(count))
