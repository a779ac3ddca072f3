"""One way to run real engines, started behind its gateway, and trials of it at given rates."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from benchmarks.bench.equal import Point
from benchmarks.bench.support import Deck, order, poisson
from benchmarks.gateway.gateways import ROOT
from benchmarks.routing.engines import Engine, Fleet, running
from benchmarks.routing.fronts import Front, penstock, started
from penstock.bench.client.crew import Crew
from penstock.bench.client.run import Runner
from penstock.bench.client.settings import Patience, Server
from penstock.bench.measure.quantile import quantile
from penstock.bench.sample import Ending, Sample
from penstock.bench.traffic.arrivals import Constant
from penstock.bench.traffic.plan import StagePlan
from penstock.bench.traffic.workload import Closed, Open
from penstock.core.clock import monotonic


@dataclass(frozen=True, slots=True)
class Setup:
    """`added`: what it has and the one before it has not."""

    name: str
    added: str
    slots: int
    prefix_cache: bool
    policy: str
    max_in_flight: int = 0
    """Requests that an engine is sent at a time, the others wait in the gateway; 0: all are sent."""


@dataclass(frozen=True, slots=True)
class Trial:
    """One rate, once. Seconds."""

    setup: str
    round: int
    rate: float
    p50: float
    p95: float
    """Of due to end. A failure is infinitely late; infinite is written -1."""
    ttft_p50: float
    failed: int
    cached_share: float
    """Of the prompts' tokens, by the engines' own `usage`."""
    invalid: str
    """Why the client says that it did not keep up."""
    samples: list[list[float]]
    """Of each request: due, first content, end, 1 if whole."""

    @property
    def point(self) -> Point:
        return Point(self.rate, self.p95 if self.p95 >= 0 else float("inf"))


@contextmanager
def standing(setup: Setup, size: int, folder: Path, model: Path) -> Iterator[tuple[int, Sequence[Engine]]]:
    """The gateway's port and the engines behind it; gone at the end. Raises NotStarted."""
    own = folder / setup.name.replace(" ", "-")
    own.mkdir(exist_ok=True)
    fleet = Fleet("llamacpp", size, setup.name, setup.slots, setup.prefix_cache)
    command = penstock(setup.policy, setup.max_in_flight)
    front = Front(setup.name, setup.added, command, environment={"PYTHONPATH": str(ROOT / "src")})
    with running(fleet, own, model) as engines, started(front, engines, own) as port:
        yield port, engines


class Stand:
    """A setup that stands at `port`: sends it questions from its deck, each once."""

    def __init__(self, setup: Setup, port: int, crew: Crew, deck: Deck) -> None:
        self.setup = setup
        self._runner = Runner(crew, Server("127.0.0.1", port), Patience(), lambda _: None, monotonic())
        self._deck = deck

    async def trial(self, number: int, rate: float, seconds: float) -> Trial:
        """An open loop. `number` is the round: it chooses moments and prompts."""
        requests = self._deck.deal((each.kind, each.due) for each in poisson(rate, seconds, number))
        done = await self._runner.run([StagePlan(Open(Constant(rate), seconds), requests)], 1, 0.0)
        return tried(self.setup.name, number, rate, done.samples, done.client.invalid)

    async def closed(self, clients: int, count: int) -> tuple[float, float]:
        """A closed loop: (answers per second, median from due to end, infinite where one failed)."""
        requests = self._deck.deal((kind, None) for kind in order(count, -1))
        done = await self._runner.run([StagePlan(Closed(clients, count), requests)], 1, 0.0)
        median = quantile(sorted(each.ended - each.due for each in done.samples), 0.5)
        whole = all(each.ending is Ending.OK for each in done.samples)
        return count / (done.stages[0].end - done.stages[0].begin), median if whole else float("inf")


def whole_p95(samples: Sequence[Sample]) -> float:
    """p95 of due to end, a failure being infinitely late."""
    times = [each.ended - each.due if each.ending is Ending.OK else float("inf") for each in samples]
    return quantile(sorted(times), 0.95)


def tried(setup: str, number: int, rate: float, samples: Sequence[Sample], invalid: str) -> Trial:
    ok = [each for each in samples if each.ending is Ending.OK]
    p50, first = (quantile(sorted(times) or [0.0], 0.5) for times in (
        [each.ended - each.due for each in ok], [each.first - each.due for each in ok],
    ))  # fmt: skip
    p95 = whole_p95(samples)
    given = sum(each.input_tokens for each in ok)
    return Trial(
        setup, number, round(rate, 4), round(p50, 4), -1.0 if p95 == float("inf") else round(p95, 4), round(first, 4),
        len(samples) - len(ok), round(sum(each.cached_tokens for each in ok) / given, 4) if given else 0.0, invalid,
        [[round(x, 4) for x in (each.due, each.first, each.ended, each.ending is Ending.OK)] for each in samples],
    )  # fmt: skip
