"""Samples and runs made up for tests."""

import heapq
from random import Random

from penstock.bench.contract.contract import Contract, RunSet
from penstock.bench.measure.health import health
from penstock.bench.sample import Ending, Run, Sample, Series, Stage
from penstock.bench.traffic.lengths import Fixed
from penstock.bench.traffic.workload import Closed, Kind, Workload


def sample(
    index: int = 0, due: float = 0.0, ttft: float = 0.1, gap: float = 0.02, tokens: int = 5, **more: object
) -> Sample:
    """A stream of `tokens` tokens, one per event, sent when due."""
    first = due + ttft
    last = first + gap * (tokens - 1)
    made = Sample(
        index, 0, due, due, first, last, last, input_tokens=10, output_tokens=tokens, events=tokens,
        gaps=[gap] * (tokens - 1),
    )  # fmt: skip
    for name, value in more.items():
        setattr(made, name, value)
    return made


CONTRACT = Contract("made-up", Workload((Kind("k", Fixed(10), Fixed(5)),), (Closed(4, 60),)))


def run(seed: int, slower: float = 1.0, requests: int = 60, noise: float = 0.03, drift: float = 0.0) -> Run:
    """A run of 60 requests, four at once. `slower`: a factor on all latencies. `noise`: of this run as a whole, the
    coefficient of variation; requests vary by a tenth within it."""
    rng = Random(seed)
    weather = slower * rng.lognormvariate(0.0, noise) * (1 + drift)
    samples, ends = [], [0.0] * 4
    for index in range(requests):
        place = index % 4
        own = weather * rng.lognormvariate(0.0, 0.1)
        made = sample(index, ends[place], 0.1 * own, 0.02 * own)
        ends[place] = made.ended
        samples.append(made)
    stages = [Stage("4 at once", 0.0, max(ends), 4)]
    return Run(
        "made-up", 1e9, seed, {}, {"client.cpu": "test"}, stages, health(stages, samples, [(0.1, max(ends))]), samples,
        [Series("running", "engine-a", "requests", [0.0, 1.0, 2.0], [1.0, 4.0, 4.0])],
    )  # fmt: skip


def runs(seed: int, count: int, slower: float = 1.0, noise: float = 0.03) -> RunSet:
    return RunSet(
        CONTRACT, {"client.cpu": "test"}, [run(1000 * seed + each, slower, noise=noise) for each in range(count)], "now"
    )


def queue(load: float, seed: int, rate: float = 10.0, seconds: float = 60.0, ramp: float = 0.0) -> list[Sample]:
    """Of a server that does 16 requests at once, offered `load` times what it can do, as a Poisson process whose rate
    grows by `ramp` per second."""
    rng, now, found = Random(seed), 0.0, []
    service = load * 16 / rate
    free = [0.0] * 16
    while True:
        now += rng.expovariate(rate * (1 + ramp * now))
        if now > seconds:
            return found
        begin = max(now, heapq.heappop(free))
        own = service * rng.lognormvariate(0.0, 0.5) / 1.133
        heapq.heappush(free, begin + own)
        found.append(sample(len(found), now, begin - now + 0.1 * own, 0.9 * own / 4))


__all__ = ["CONTRACT", "Ending", "queue", "run", "runs", "sample"]
