"""Several servers under one contract -> which one to choose, and how sure that is.

Each round runs the contract on every server in turn, so that a round has one weather for all. Of server s in round r

    L[s, r] = sum over criteria of  weight * mean over stages of  +-ln(value)

with + where more is better and - where less is. Weights are scaled to add up to 1, so exp(L[s] - L[t]) is by how many
times s is better than t: the weighted geometric mean of the ratios of their values. Only ratios count, so a criterion
in milliseconds weighs as much as one in tokens/s. (The weighted product model: Bridgman, "Dimensional Analysis", 1922.)

The best is the server with the largest mean. Every other is compared with it round by round (Student's t on the paired
differences, Holm's correction over all): it is `behind` when that is sure, else `tied`. A server that misses a need is
`out`, whatever its score.
"""

from collections.abc import Mapping, Sequence
from enum import StrEnum
from math import exp, log

import msgspec

from penstock.bench.contract.compare import figures_of, more_is_better, value_of
from penstock.bench.contract.contract import RunSet
from penstock.bench.measure.student import critical, p_value, paired
from penstock.core.errors import ConfigError

COST = "cost"
"""The criterion that needs prices: money per 1,000 output tokens, while the server does nothing else."""
LEVEL = 0.95


class Standing(StrEnum):
    BEST = "best"
    TIED = "tied"
    BEHIND = "behind"
    OUT = "out"


class Need(msgspec.Struct, frozen=True):
    """What a server must do to be chosen at all, in every stage."""

    metric: str
    bound: float
    """Seconds, per second, or a part, as the metric is."""
    at_least: bool

    def met(self, value: float) -> bool:
        return value >= self.bound if self.at_least else value <= self.bound


class Place(msgspec.Struct):
    """One server."""

    name: str
    standing: Standing
    score: float = 0.0
    """Of the best one's: 0.5 is half as good. 0 where it cannot be told."""
    low: float = 0.0
    high: float = 0.0
    """Of the score, at 95 %."""
    p: float = 1.0
    """That it is as good as the best, after Holm's correction."""
    why: list[str] = []
    """Needs that it misses, or values that it does not have."""
    values: dict[str, dict[str, float]] = {}
    """Stage -> metric -> geometric mean over rounds."""


class Matrix(msgspec.Struct):
    """The whole answer; places from the best down, those that are out last."""

    places: list[Place]
    weights: dict[str, float]
    rounds: int
    problems: list[str]


def decide(
    sets: Mapping[str, RunSet], weights: Mapping[str, float], needs: Sequence[Need] = (),
    prices: Mapping[str, float] | None = None,
) -> Matrix:  # fmt: skip
    """`sets`: server -> its runs, run n of each in the same round. `weights`: criterion -> above 0. `prices`: server ->
    money per hour.

    Raises ConfigError when the sets do not belong together, or a metric is unknown.
    """
    weights = _scaled(weights)
    names = list(sets)
    problems = _strange(sets)
    rounds = [
        number
        for number in range(min(len(each.runs) for each in sets.values()))
        if not any(each.runs[number].invalid for each in sets.values())
    ]
    left_out = max(len(each.runs) for each in sets.values()) - len(rounds)
    if left_out:
        problems.append(f"{left_out} rounds are left out, as a run is not valid or a server has none")
    if len(rounds) < 2:
        raise ConfigError(f"a matrix needs at least two rounds that are valid; there are {len(rounds)}")
    wanted = list(dict.fromkeys([*weights, *(need.metric for need in needs)]))
    found = {name: _values(sets[name], rounds, wanted, (prices or {}).get(name)) for name in names}
    places = {name: _placed(name, found[name], needs, weights) for name in names}
    _compare(places, {name: _logs(found[name], weights) for name in names if not places[name].why})
    order = {Standing.BEST: 0, Standing.TIED: 1, Standing.BEHIND: 1, Standing.OUT: 2}
    return Matrix(
        sorted(places.values(), key=lambda place: (order[place.standing], -place.score)), weights, len(rounds), problems
    )


Values = dict[str, dict[str, list[float | None]]]
"""Stage -> metric -> value of each round."""


def _scaled(weights: Mapping[str, float]) -> dict[str, float]:
    total = sum(weights.values())
    return {metric: weight / total for metric, weight in weights.items()}


def _strange(sets: Mapping[str, RunSet]) -> list[str]:
    """Raises ConfigError where the loads differ; tells of machines and models that do."""
    first = next(iter(sets))
    for name, each in sets.items():
        if each.contract.digest != sets[first].contract.digest:
            raise ConfigError(f"{first} and {name}: their contracts send different loads; measure both with one")
    told = {name for each in sets.values() for name in each.fingerprint if name.startswith("client.")}
    return [
        f"{name} differs: " + ", ".join(f"{server} {each.fingerprint.get(name, '-')}" for server, each in sets.items())
        for name in (*sorted(told), "server.model")
        if len({each.fingerprint.get(name) for each in sets.values()}) > 1
    ]


def _values(runs: RunSet, rounds: Sequence[int], metrics: Sequence[str], price: float | None) -> Values:
    found: Values = {}
    for number in rounds:
        for stage, told in zip(runs.runs[number].stages, figures_of(runs.runs[number], runs.contract), strict=True):
            row = found.setdefault(stage.name, {metric: [] for metric in metrics})
            for metric in metrics:
                if metric != COST:
                    row[metric].append(value_of(told, metric))
                elif price is None:
                    raise ConfigError("cost: a server has no price; give one for each with --price NAME=PER_HOUR")
                else:
                    row[metric].append(price / 3600 / told.output_rate * 1000 if told.output_rate else None)
    return found


def _placed(name: str, values: Values, needs: Sequence[Need], weights: Mapping[str, float]) -> Place:
    """Whether a server can be chosen; its score comes later."""
    means: dict[str, dict[str, float]] = {}
    why = []
    for stage, row in values.items():
        for metric, told in row.items():
            known = [value for value in told if value is not None]
            if len(known) < len(told) or (metric in weights and min(known) <= 0):
                why.append(f"{stage}: {metric} has no value in {len(told) - sum(v > 0 for v in known)} rounds")
                continue
            mean = exp(sum(map(log, known)) / len(known)) if min(known) > 0 else sum(known) / len(known)
            means.setdefault(stage, {})[metric] = mean
            why += [
                f"{stage}: {metric} is {mean:.4g}, needed {'at least' if need.at_least else 'at most'} {need.bound:g}"
                for need in needs
                if need.metric == metric and not need.met(mean)
            ]
    return Place(name, Standing.OUT if why else Standing.TIED, why=why, values=means)


def _logs(values: Values, weights: Mapping[str, float]) -> list[float]:
    """L of the package's formula, per round."""
    rounds = len(next(iter(next(iter(values.values())).values())))
    return [
        sum(
            weight * (1 if more_is_better(metric) else -1)
            * sum(log(row[metric][number] or 0.0) for row in values.values()) / len(values)
            for metric, weight in weights.items()
        )
        for number in range(rounds)
    ]  # fmt: skip


def _compare(places: Mapping[str, Place], logs: Mapping[str, list[float]]) -> None:
    """Scores and standings of the servers in `logs`, in place."""
    if not logs:
        return
    best = max(logs, key=lambda name: sum(logs[name]))
    places[best].standing, places[best].score, places[best].low, places[best].high = Standing.BEST, 1.0, 1.0, 1.0
    others = [name for name in logs if name != best]
    for name in others:
        difference, error, freedom = paired(logs[best], logs[name])
        error = error or 1e-12
        half = critical(LEVEL, freedom) * error
        place = places[name]
        place.score, place.low, place.high = (exp(difference + edge) for edge in (0.0, -half, half))
        place.p = p_value(difference / error, freedom)
    largest = 0.0
    for rank, name in enumerate(sorted(others, key=lambda name: places[name].p)):
        largest = places[name].p = max(largest, min(1.0, places[name].p * (len(others) - rank)))
        places[name].standing = Standing.BEHIND if largest < 1 - LEVEL else Standing.TIED
