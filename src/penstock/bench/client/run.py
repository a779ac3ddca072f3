"""A whole run: warm-up, stage after stage, what happened beside it."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Iterable, Sequence

import msgspec

from penstock.bench.client.crew import Crew, dealt
from penstock.bench.client.messages import Done, Lately, Task
from penstock.bench.client.settings import Patience, Server
from penstock.bench.measure.health import health
from penstock.bench.measure.moments import lag, ttft
from penstock.bench.sample import ClientHealth, Ending, Planned, Sample, Stage
from penstock.bench.traffic.plan import StagePlan
from penstock.core.clock import monotonic

HEAD_START_S = 0.3
"""Between the order and the beginning of a stage: processes read their parts meanwhile."""


class Progress(msgspec.Struct):
    """How a run goes."""

    stage: int
    stages: int
    label: str
    planned: int
    """Requests of the stage."""
    elapsed_s: float
    sent: int = 0
    done: int = 0
    failed: int = 0
    tokens: int = 0
    ttft: list[float] = []
    """Seconds, of what began to be answered since the last word."""
    lag_s: float = 0.0
    over: bool = False
    """The stage has ended: the last word of it, whose `ttft` are all of the stage's."""


class Outcome(msgspec.Struct):
    """What a run gave."""

    stages: list[Stage]
    samples: list[Sample]
    client: ClientHealth
    stopped: bool = False
    notes: list[str] = []


class Runner:
    """Sends plans to one server. `tell` hears how it goes a few times a second."""

    def __init__(
        self, crew: Crew, server: Server, patience: Patience, tell: Callable[[Progress], None], began: float
    ) -> None:
        self._crew = crew
        self._server = server
        self._patience = patience
        self._tell = tell
        self.began = began
        """Monotonic seconds at which the run began; moments of samples count from it."""
        self._stopped = asyncio.Event()

    def stop(self) -> None:
        """Ends the run early; what was measured is kept."""
        self._stopped.set()
        self._crew.stop()

    async def warm(self, requests: Sequence[Planned]) -> None:
        """Sends requests that are not counted, two at a time."""
        if requests and not self._stopped.is_set():
            await self._stage(-1, 0, "warm-up", requests, 2)

    async def run(self, plans: Iterable[StagePlan], count: int, gap_s: float) -> Outcome:
        """Stage after stage, `gap_s` apart. Raises ClientDied."""
        stages: list[Stage] = []
        samples: list[Sample] = []
        cpu: list[tuple[float, float]] = []
        notes: list[str] = []
        for number, plan in enumerate(plans):
            if number:
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self._stopped.wait(), gap_s)
            if self._stopped.is_set():
                break
            begin, done = await self._stage(number, count, plan.stage.label, plan.requests, plan.places)
            own = [sample for part in done for sample in part.samples]
            if self._stopped.is_set() and not own:
                break
            end = max((sample.ended for sample in own), default=begin)
            rate = len(plan.requests) / plan.seconds if plan.seconds else 0.0
            stages.append(Stage(plan.stage.label, begin, end, plan.places, rate))
            notes += [*plan.notes, *self._shared_keys(plan)]
            samples += sorted(own, key=lambda sample: sample.index)
            cpu += [(part.cpu_s, part.wall_s) for part in done]
        return Outcome(stages, samples, health(stages, samples, cpu), self._stopped.is_set(), notes)

    def _shared_keys(self, plan: StagePlan) -> list[str]:
        without = [each.tenant for each in plan.requests if each.tenant and not self._server.own_key(each.tenant)]
        if not without:
            return []
        instead = "with the default one" if self._server.keys.get("") else "without one"
        who = f"{len(without)} requests of {len(set(without))} tenants without a key of their own"
        return [f"{plan.stage.label}: {who} went {instead}."]

    async def _stage(
        self, number: int, count: int, label: str, requests: Sequence[Planned], places: int
    ) -> tuple[float, list[Done]]:
        begin = monotonic() - self.began + HEAD_START_S
        tasks = [
            Task(self._server, self._patience, self.began, begin, number, own, part)
            for own, part in dealt(requests, places, self._crew.size)
        ]

        def tell(lately: Sequence[Lately]) -> None:
            self._tell(
                Progress(
                    number, count, label, len(requests), monotonic() - self.began - begin,
                    sum(word.sent for word in lately), sum(word.done for word in lately),
                    sum(word.failed for word in lately), sum(word.tokens for word in lately),
                    [each for word in lately for each in word.ttft], max(word.lag for word in lately),
                )
            )  # fmt: skip

        done = await self._crew.stage(tasks, tell)
        self._tell(_last_word(number, count, label, begin, done))
        return begin, done


def _last_word(number: int, count: int, label: str, begin: float, done: Sequence[Done]) -> Progress:
    samples = [sample for part in done for sample in part.samples]
    return Progress(
        number, count, label, len(samples), max((sample.ended - begin for sample in samples), default=0.0),
        len(samples), len(samples),
        sum(sample.ending not in (Ending.OK, Ending.CANCELLED) for sample in samples),
        sum(sample.output_tokens for sample in samples),
        [found for sample in samples if (found := ttft(sample)) is not None],
        max(map(lag, samples), default=0.0), over=True,
    )  # fmt: skip
