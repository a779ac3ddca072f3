"""What is asked, and when: every workload from a seed, with a salt that makes its prompts new to every cache."""

from __future__ import annotations

import itertools
import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal

WORDS = (
    "river", "stone", "water", "mill", "valley", "bridge", "keeper", "gate", "wheel", "grain", "winter", "market",
    "lantern", "road", "field", "harbour", "rope", "ladder", "barrel", "candle", "window", "garden", "chimney",
    "orchard", "meadow", "shepherd", "carpenter", "saddle", "anchor", "feather", "kettle",
)  # fmt: skip
"""Each is one or two tokens."""

OUT_TOKENS = 8
"""Tokens of every answer: short, so that the time to the first one is most of a request."""


@dataclass(frozen=True, slots=True)
class Job:
    """A conversation: a system prompt and the user's turns, each sent when the one before was answered."""

    system: str
    turns: tuple[str, ...]
    due_s: float = 0.0
    """Open loop: when it is sent, from the start of the workload."""


@dataclass(frozen=True, slots=True)
class Dose:
    """How much of a workload one cell is. Lengths in words."""

    jobs: int
    prefixes: int = 1
    prefix_words: int = 160
    tail_words: int = 12
    turns: int = 1


@dataclass(frozen=True, slots=True)
class Workload:
    """`concurrency` jobs at a time (closed loop), or each when due (open loop).

    `steady_from`: share of the requests that only warm the caches up for the shares of load; latencies count them all.
    """

    name: str
    loop: Literal["closed", "open"]
    dose: Dose
    make: Callable[[Dose, random.Random, str], list[Job]]
    concurrency: int = 8
    steady_from: float = 0.0

    def jobs(self, seed: int, salt: str, rate: float = 1.0) -> list[Job]:
        """Same seed: same lengths, order and arrivals (`rate` per second); the salt opens every system prompt."""
        rng = random.Random(f"{self.name} {seed}")
        made = self.make(self.dose, rng, salt)
        if self.loop == "closed":
            return made
        due = itertools.accumulate(rng.expovariate(rate) for _ in made)
        return [Job(job.system, job.turns, at) for job, at in zip(made, due, strict=True)]


def words(rng: random.Random, count: int) -> str:
    return " ".join(rng.choice(WORDS) for _ in range(count))


def prompt(rng: random.Random, salt: str, count: int) -> str:
    """A system prompt that shares nothing with another salt's, past the words of the chat template."""
    return f"{salt} {words(rng, count)}"


def multi_turn(dose: Dose, rng: random.Random, salt: str) -> list[Job]:
    """Sessions, each with its own system prompt and several turns."""
    return [
        Job(
            prompt(rng, f"{salt}{number}", dose.prefix_words),
            tuple(words(rng, dose.tail_words) for _ in range(dose.turns)),
        )
        for number in range(dose.jobs)
    ]


def shared_system(dose: Dose, rng: random.Random, salt: str) -> list[Job]:
    """A few long system prompts, each as likely."""
    return _drawn(dose, rng, salt, [1.0] * dose.prefixes)


def skewed_prefix(dose: Dose, rng: random.Random, salt: str) -> list[Job]:
    """System prompts by Zipf's law with exponent 1."""
    return _drawn(dose, rng, salt, [1 / (rank + 1) for rank in range(dose.prefixes)])


def hot_spot(dose: Dose, rng: random.Random, salt: str) -> list[Job]:
    """One system prompt for 90 % of the jobs, a short one of its own for each of the others."""
    hot = prompt(rng, f"{salt}h", dose.prefix_words)
    return [
        Job(
            hot if rng.random() < 0.9 else prompt(rng, f"{salt}{number}", dose.prefix_words // 4),
            (words(rng, dose.tail_words),),
        )
        for number in range(dose.jobs)
    ]


def _drawn(dose: Dose, rng: random.Random, salt: str, weights: list[float]) -> list[Job]:
    systems = [prompt(rng, f"{salt}{number}", dose.prefix_words) for number in range(dose.prefixes)]
    return [Job(rng.choices(systems, weights)[0], (words(rng, dose.tail_words),)) for _ in range(dose.jobs)]


def known(scale: float = 1.0, engines: int = 4) -> Mapping[str, Workload]:
    """Every workload by name. `scale` shrinks or grows the number of jobs."""

    def count(jobs: int) -> int:
        return max(2, round(jobs * scale))

    each = 2 * engines
    listed = [
        Workload("multi_turn", "closed", Dose(count(7), 1, 100, 24, 4), multi_turn, concurrency=each - 2),
        # Long enough that a prompt which a second engine has read is wanted there again.
        Workload("shared_system", "closed", Dose(count(72), 4), shared_system, concurrency=each - 2),
        Workload("shared_open", "open", Dose(count(24), 4), shared_system),
        # Its p99 is a bar: of a hundred requests that would be the slowest one.
        Workload("skewed_prefix", "open", Dose(count(64), 10), skewed_prefix),
        Workload("hot_spot", "closed", Dose(count(80)), hot_spot, concurrency=each, steady_from=0.25),
    ]
    return {workload.name: workload for workload in listed}
