"""Two sets of runs -> a verdict for every metric of every stage.

A run is the unit: requests within one run share its weather, so that ten thousand of them say no more of a change than
the run they are of. Of each run and stage a metric gives one number; its logarithm is compared, so that effects are
parts. With d the difference of means, oriented so that more is worse:

    worse         p < 1 - level after Holm's correction over all gating metrics, d > 0 and |d| >= least
    better        the same with d < 0
    same          the interval of d at level 2 * level - 1 lies within +- margin (two one-sided tests, Schuirmann 1987)
    inconclusive  none of them; with how many runs a set would probably need

Sets that were measured in turn (ABAB...) are compared in pairs. Sets that grew until they were enough have a level that
their looks share (`looks`). Holm: "A simple sequentially rejective multiple test
procedure", 1979.
"""

from collections.abc import Iterable, Mapping, Sequence
from enum import StrEnum
from math import ceil, exp, log, log1p
from statistics import fmean

import msgspec

from penstock.bench.contract.contract import Contract, RunSet
from penstock.bench.measure.figures import Figures, figures
from penstock.bench.measure.student import critical, p_value, paired, welch
from penstock.bench.sample import Run
from penstock.core.errors import ConfigError

RATES = {"rate": "rate", "output_rate": "output_rate", "input_rate": "input_rate"}
"""Metrics of which more is better."""
MOST_RUNS = 1000
CACHED_APART = 0.1
"""Sets of which one had so much more of its input from prefix caches than the other are remarked on."""


class Verdict(StrEnum):
    BETTER = "better"
    SAME = "same"
    WORSE = "worse"
    INCONCLUSIVE = "inconclusive"
    NOT_COMPARABLE = "not comparable"


class Compared(msgspec.Struct):
    """One metric of one stage."""

    stage: str
    metric: str
    verdict: Verdict
    before: float
    after: float
    """Geometric means over runs."""
    change: float
    """Part: 0.1 is a tenth more."""
    low: float
    high: float
    """Its interval at the contract's level."""
    p: float
    """After Holm's correction."""
    runs_needed: int = 0
    """Per set, where it is inconclusive; 0 where that cannot be told."""
    why: str = ""


class Comparison(msgspec.Struct):
    """The whole answer."""

    verdict: Verdict
    rows: list[Compared]
    problems: list[str]
    """Why the sets cannot be compared, or what to be careful about."""
    pairs: bool = False
    runs: int = 0
    """Of each set, that were compared; of the smaller one where they differ."""
    level: float = 0.0
    """Confidence: the contract's, shared by as many looks as there were to be."""


def compare(before: RunSet, after: RunSet, *, pairs: bool = False, despite: Iterable[str] = ()) -> Comparison:
    """`despite`: names in the fingerprint that may differ. Raises ConfigError for a metric that there is not."""
    contract = before.contract
    looks = max(before.looks, after.looks, 1)
    contract = msgspec.structs.replace(contract, judge=contract.judge.shared(looks))
    problems = differences(before, after, set(despite))
    if problems:
        return Comparison(Verdict.NOT_COMPARABLE, [], problems)
    valid = [[run for run in each.runs if not run.invalid] for each in (before, after)]
    pairs = pairs and len(before.runs) == len(after.runs)
    if pairs:
        both = [(a, b) for a, b in zip(before.runs, after.runs, strict=True) if not (a.invalid or b.invalid)]
        valid = [[a for a, _ in both], [b for _, b in both]]
    notes = [
        f"{name}: {len(each.runs) - len(kept)} of {len(each.runs)} runs are left out, as they are not valid"
        + (" or their pair is not" if pairs else "")
        for name, each, kept in zip(("before", "after"), (before, after), valid, strict=True)
        if len(kept) < len(each.runs)
    ]
    if min(map(len, valid)) < 2:
        return Comparison(Verdict.NOT_COMPARABLE, [], [*notes, "each set needs at least two valid runs"])
    told = [[figures_of(run, contract) for run in kept] for kept in valid]
    rows = []
    for number, stage in enumerate(contract.workload.stages):
        notes += _warmer(stage.label, *([run[number] for run in runs if number < len(run)] for runs in told))
        for metric in contract.judge.of(stage.label):
            values = [[value_of(run[number], metric) for run in runs if number < len(run)] for runs in told]
            rows.append(_compared(stage.label, metric, values[0], values[1], contract, pairs=pairs))
    _correct(rows)
    for row in rows:
        row.verdict = _verdict(row, contract)
    if looks > 1:
        notes.append(
            f"the sets grew until they were enough, {looks} looks at most: each is at {contract.judge.level:.4g}"
        )
    return Comparison(overall(rows), rows, notes, pairs, min(map(len, valid)), contract.judge.level)


def differences(before: RunSet, after: RunSet, despite: set[str]) -> list[str]:
    """Why two sets say nothing about each other."""
    found = []
    if before.contract.digest != after.contract.digest:
        found.append("the contracts send different loads")
        traces, others = before.contract.traces, after.contract.traces
        found += [
            f"{stage}: another trace was replayed (SHA-256 {traces[stage]:.12} before, {others[stage]:.12} after)"
            for stage in traces
            if traces[stage] != others.get(stage, traces[stage])
        ]
    for name in sorted(before.fingerprint.keys() | after.fingerprint.keys()):
        own, other = before.fingerprint.get(name, "unknown"), after.fingerprint.get(name, "unknown")
        if own != other and name not in despite and name.partition(".")[0] not in despite:
            found.append(f"{name} differs: {own!r} before, {other!r} after")
    return found


def overall(rows: Sequence[Compared]) -> Verdict:
    """The worst that is sure; inconclusive before better, since what is not known may be worse."""
    found = {row.verdict for row in rows}
    for verdict in (Verdict.WORSE, Verdict.INCONCLUSIVE, Verdict.BETTER):
        if verdict in found:
            return verdict
    return Verdict.SAME


def value_of(of: Figures, metric: str) -> float | None:
    """One number of a run's stage. Raises ConfigError for a name that there is not."""
    if metric in RATES:
        return float(getattr(of, RATES[metric]))
    if metric == "ok_share":
        return of.ok / of.requests if of.requests else None
    if metric == "goodput":
        return of.good
    quantity, _, name = metric.partition(".")
    spread = of.spreads.get(quantity)
    if spread is None:
        return None
    if name == "mean":
        return spread.mean
    if name not in spread.at:
        raise ConfigError(f"judge.metrics: there is no {metric!r}; write QUANTITY.p50, .p90, .p95, .p99 or .mean")
    return spread.at[name]


def more_is_better(metric: str) -> bool:
    return metric in RATES or metric in ("ok_share", "goodput")


def figures_of(run: Run, contract: Contract) -> list[Figures]:
    """Of every stage."""
    return [
        figures(stage, [sample for sample in run.samples if sample.stage == number], contract.slo)
        for number, stage in enumerate(run.stages)
    ]


def _warmer(stage: str, before: Sequence[Figures], after: Sequence[Figures]) -> list[str]:
    """Says so when the sets were not answered from caches alike. Equal prompts are in the cache of an engine that has
    answered them before: what looks better then may have come second only."""
    if not before or not after:
        return []
    own, other = (fmean(of.cached_share for of in each) for each in (before, after))
    if abs(own - other) < CACHED_APART:
        return []
    return [
        f"{stage}: {own:.0%} of the input came from prefix caches before, {other:.0%} after; unless that is what was"
        " changed, start both servers afresh or compare them without prefix caching"
    ]


def _compared(
    stage: str, metric: str, first: Sequence[float | None], second: Sequence[float | None], contract: Contract, *,
    pairs: bool,
) -> Compared:  # fmt: skip
    a, b = ([log(value) for value in values if value is not None and value > 0] for values in (first, second))
    if len(a) < 2 or len(b) < 2:
        return Compared(
            stage, metric, Verdict.INCONCLUSIVE, 0, 0, 0, 0, 0, 1.0, why="fewer than two runs of a set have a value"
        )
    difference, error, freedom = paired(a, b) if pairs and len(a) == len(b) else welch(a, b)
    if error == 0:
        error = 1e-12
    half = critical(contract.judge.level, freedom) * error
    row = Compared(
        stage, metric, Verdict.INCONCLUSIVE, exp(sum(a) / len(a)), exp(sum(b) / len(b)),
        exp(difference) - 1, exp(difference - half) - 1, exp(difference + half) - 1,
        p_value(difference / error, freedom),
    )  # fmt: skip
    narrow = critical(2 * contract.judge.level - 1, freedom) * error
    margin = log1p(contract.judge.margin)
    if abs(difference) + narrow <= margin:
        row.why = "within the margin"
    elif abs(difference) < margin:
        # The interval shrinks with the root of the number of runs.
        row.runs_needed = min(MOST_RUNS, ceil(max(len(a), len(b)) * (narrow / (margin - abs(difference))) ** 2))
    elif half > abs(difference):
        row.runs_needed = min(MOST_RUNS, ceil(max(len(a), len(b)) * (half / abs(difference)) ** 2))
    return row


def _correct(rows: Sequence[Compared]) -> None:
    """Holm's step-down correction, in place."""
    largest = 0.0
    for rank, row in enumerate(sorted(rows, key=lambda row: row.p)):
        largest = max(largest, min(1.0, row.p * (len(rows) - rank)))
        row.p = largest


def _verdict(row: Compared, contract: Contract) -> Verdict:
    judge = contract.judge
    if row.p < 1 - judge.level and abs(row.change) >= judge.least:
        return Verdict.BETTER if (row.change > 0) == more_is_better(row.metric) else Verdict.WORSE
    return Verdict.SAME if row.why == "within the margin" else Verdict.INCONCLUSIVE


EXIT: Mapping[Verdict, int] = {
    Verdict.SAME: 0,
    Verdict.BETTER: 0,
    Verdict.WORSE: 1,
    Verdict.INCONCLUSIVE: 3,
    Verdict.NOT_COMPARABLE: 4,
}
"""Exit codes for CI; 2 is a wrong command line, as everywhere."""
