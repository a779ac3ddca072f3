"""Samples of a stage -> its figures."""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Annotated

import msgspec
from msgspec import UNSET, Meta, UnsetType

from penstock.bench.measure import moments
from penstock.bench.measure.growth import Growth, growth
from penstock.bench.measure.quantile import Interval, interval, quantile
from penstock.bench.measure.resources import Cost, Energy, cost, energy
from penstock.bench.measure.steady import Steady, steady
from penstock.bench.sample import Ending, Run, Sample, Stage

QUANTILES = {"p50": 0.5, "p90": 0.9, "p95": 0.95, "p99": 0.99}
PER_REQUEST: Mapping[str, Callable[[Sample], float | None]] = {
    "ttft": moments.ttft,
    "ttft_from_sent": moments.ttft_from_sent,
    "tpot": moments.tpot,
    "tpot_with_first": moments.tpot_with_first,
    "itl_mean": moments.itl_mean,
    "e2e": moments.e2e,
    "normalised": moments.normalised,
    "lag": moments.lag,
}


class Slo(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What makes an answer good. Seconds; 0: not asked for."""

    ttft: Annotated[float, Meta(ge=0, description="Time to first token, at most")] = 0.0
    tpot: Annotated[float, Meta(ge=0, description="Time per output token after the first, at most")] = 0.0
    e2e: Annotated[float, Meta(ge=0, description="From due to the last byte, at most")] = 0.0
    share: Annotated[float, Meta(gt=0, le=1, description="Part of the requests that must be good")] = 0.99

    def good(self, sample: Sample) -> bool:
        """A failure is not good. An answer of one token has no TPOT and is judged by the rest."""
        if sample.ending is not Ending.OK:
            return False
        for most, found in (
            (self.ttft, moments.ttft(sample)),
            (self.tpot, moments.tpot(sample)),
            (self.e2e, moments.e2e(sample)),
        ):
            if most and found is not None and found > most:
                return False
        return True

    @property
    def asks(self) -> bool:
        return bool(self.ttft or self.tpot or self.e2e)


class Spread(msgspec.Struct):
    """A quantity over many requests or gaps, seconds."""

    count: int
    mean: float
    least: float
    most: float
    at: dict[str, float]
    """By name of `QUANTILES`."""
    sure: dict[str, Interval]
    """95 % intervals of those that have one."""


class Figures(msgspec.Struct):
    """One stage, or one class of requests in it."""

    stage: str
    kind: str
    """Empty: all classes."""
    seconds: float
    """From the stage's beginning to its last answer."""
    requests: int
    ok: int
    endings: dict[str, int]
    rate: float
    """Whole answers per second."""
    input_rate: float
    output_rate: float
    """Tokens per second, of all requests."""
    cached_share: float
    """Part of the input that engines found in their caches, as far as they tell."""
    counted_share: float
    """Part of the answers whose tokens no usage told."""
    good: float | None
    """Goodput: good answers per second; None where no SLO was asked for."""
    good_share: float | None
    spreads: dict[str, Spread]
    """By quantity: those of `PER_REQUEST`, and `itl`, the gaps of all answers pooled."""
    steady: Steady | None = None
    """Of a closed loop, all classes together."""
    growth: Growth | None = None
    """Of an open loop, all classes together, where it can be told."""
    notice: str = ""
    """What a reader must know before any of this; empty: nothing."""
    cost: Cost | UnsetType = UNSET
    energy: Energy | UnsetType = UNSET


def figures(stage: Stage, samples: Sequence[Sample], slo: Slo, kind: str = "") -> Figures:
    """Requests that were cancelled as planned count as neither good nor failed."""
    own = [sample for sample in samples if not kind or sample.kind == kind]
    seconds = max(1e-9, stage.end - stage.begin)
    ok = [sample for sample in own if sample.ending is Ending.OK]
    judged = sum(sample.ending is not Ending.CANCELLED for sample in own)
    good = sum(map(slo.good, ok))
    given = sum(sample.input_tokens for sample in own)
    spreads = {
        name: found
        for name, of in PER_REQUEST.items()
        if (found := spread(value for sample in own if (value := of(sample)) is not None)) is not None
    }
    gaps = spread(gap for sample in own for gap in sample.gaps)
    if gaps is not None:
        spreads["itl"] = gaps
    grown = None if kind else growth(stage, own)
    return Figures(
        stage.name,
        kind,
        seconds,
        len(own),
        len(ok),
        dict(Counter(sample.ending.value for sample in own)),
        len(ok) / seconds,
        given / seconds,
        sum(sample.output_tokens for sample in own) / seconds,
        sum(sample.cached_tokens for sample in own) / given if given else 0.0,
        sum(sample.counted for sample in ok) / len(ok) if ok else 0.0,
        good / seconds if slo.asks else None,
        (good / judged if judged else 0.0) if slo.asks else None,
        spreads,
        None if kind else steady(stage, own),
        grown,
        grown.notice if grown else "",
    )


def with_resources(found: Figures, run: Run, number: int) -> Figures:
    """The figures of stage `number` of a run with what it cost and what energy it took, as far as known."""
    tokens = found.output_rate * found.seconds
    return msgspec.structs.replace(
        found,
        cost=cost(run.price_per_hour, found.seconds, tokens, found.ok),
        energy=energy(run.stages[number], run.series, tokens),
    )


def spread(values: Iterable[float]) -> Spread | None:
    """None of nothing."""
    ordered = sorted(values)
    if not ordered:
        return None
    at = {name: quantile(ordered, q) for name, q in QUANTILES.items()}
    sure = {name: found for name, q in QUANTILES.items() if (found := interval(ordered, q)) is not None}
    return Spread(len(ordered), sum(ordered) / len(ordered), ordered[0], ordered[-1], at, sure)
