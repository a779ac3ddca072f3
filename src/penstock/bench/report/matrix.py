"""The report of several servers under one contract: which to choose, and what each is good at."""

from collections.abc import Mapping, Sequence
from math import exp, log

from penstock.bench.contract.compare import RATES, Verdict
from penstock.bench.contract.contract import RunSet
from penstock.bench.contract.matrix import COST, Matrix, Place, Standing
from penstock.bench.report import rows
from penstock.bench.report.document import Block, Document, Plots, Table
from penstock.bench.report.parts import parts_of
from penstock.bench.report.plots.change import Dot, dots
from penstock.bench.report.plots.latency import curve
from penstock.bench.report.units import digits, milli

LIKE = {Standing.BEHIND: Verdict.WORSE, Standing.TIED: Verdict.INCONCLUSIVE, Standing.BEST: Verdict.BETTER}
"""The verdict whose colour and shape a standing has."""


def matrix_report(matrix: Matrix, sets: Mapping[str, RunSet]) -> Document:
    """The order with its intervals, every criterion, and all servers over one another."""
    header, found = matrix_table(matrix)
    weighed = ", ".join(f"{metric} {weight:.0%}" for metric, weight in matrix.weights.items())
    note = (
        f"Weights: {weighed}. A score of 0.5 is half as good as the best: the weighted geometric mean of the ratios of "
        "its values, over all stages. Intervals: 95%, round by round. The rounds cannot tell a server that is tied "
        "from the best."
    )
    blocks: list[Block] = [Table("Decision", header, found, note, words=True)]
    if scores := [_dot(place) for place in matrix.places if place.standing in LIKE]:
        about = "How far each server's score is from the best server's, with its interval."
        blocks.append(Plots("Scores", [dots("Score against the best", about, scores)]))
    parts = [(name, parts_of(runs)) for name, runs in sets.items()]
    if len(parts) == 2 and all(len(stages) > 1 for _, stages in parts):
        plots = [curve(parts, quantity) for quantity in ("ttft", "e2e")]
        blocks.append(Plots("Latency and throughput", plots, "Whiskers: 95% intervals. Requests of all valid runs."))
    blocks += [_stage(matrix, stage) for stage in dict.fromkeys(s for place in matrix.places for s in place.values)]
    for name, stages in parts:
        blocks += [
            rows.throughput_table(stages, f"Throughput of {name}"),
            rows.latency_table(stages, f"Latency of {name}"),
        ]
    first = next(iter(sets.values()))
    blocks += [_environments(sets), rows.contract_listing(first.contract)]
    best = matrix.places[0]
    chosen = best.standing is Standing.BEST
    return Document(
        first.contract.name,
        f"{len(matrix.places)} servers, {matrix.rounds} rounds in turn",
        verdict_of(matrix),
        chosen,
        matrix.problems,
        blocks,
    )


def verdict_of(matrix: Matrix) -> str:
    """One sentence: which server to choose."""
    best = matrix.places[0]
    if best.standing is not Standing.BEST:
        return "No server meets every need."
    tied = [place.name for place in matrix.places if place.standing is Standing.TIED]
    if tied:
        return f"{best.name} is best, and {', '.join(tied)} cannot be told from it."
    return f"{best.name} is best." if len(matrix.places) > 1 else f"{best.name} is the only one."


def matrix_table(matrix: Matrix) -> tuple[tuple[str, ...], list[tuple[str, ...]]]:
    """Header and rows: a row per server, each criterion over all stages."""
    metrics = list(matrix.weights)
    header = ("server", "standing", "score", "interval", *metrics, "why")
    found: list[tuple[str, ...]] = []
    for place in matrix.places:
        known = place.standing is not Standing.OUT
        found.append(
            (
                place.name,
                str(place.standing),
                f"{place.score:.3f}" if known else "-",
                f"{place.low:.3f} to {place.high:.3f}" if known and place.standing is not Standing.BEST else "-",
                *(_over_stages(place, metric) for metric in metrics),
                "; ".join(place.why) or (f"p {place.p:.2g}" if place.p < 1 else "-"),
            )
        )
    return header, found


def _over_stages(place: Place, metric: str) -> str:
    """The geometric mean, which is what the score is made of."""
    values = [row[metric] for row in place.values.values() if row.get(metric, 0.0) > 0]
    return shown(metric, exp(sum(map(log, values)) / len(values))) if values else "-"


def shown(metric: str, value: float) -> str:
    """A value of a metric with its unit."""
    if metric == COST:
        return f"{digits(value, 3)} per 1K tokens"
    if "." in metric:
        return milli(value)
    if metric in RATES:
        return f"{digits(value, 4)}/s"
    return f"{value:.2%}" if metric == "ok_share" else digits(value, 4)


def _dot(place: Place) -> Dot:
    low, high = place.low - 1, place.high - 1
    return Dot("all stages", place.name, place.score - 1, low, high, str(place.standing), LIKE[place.standing])


def _stage(matrix: Matrix, stage: str) -> Table:
    metrics = list(dict.fromkeys(metric for place in matrix.places for metric in place.values.get(stage, {})))
    found = [
        (place.name, *(shown(m, row[m]) if m in (row := place.values.get(stage, {})) else "-" for m in metrics))
        for place in matrix.places
    ]
    return Table(f"At {stage}", ("server", *metrics), found, "Geometric means over rounds.")


def _environments(sets: Mapping[str, RunSet]) -> Table:
    names: Sequence[str] = sorted({name for runs in sets.values() for name in runs.fingerprint})
    found = [(name, *(runs.fingerprint.get(name, "-") for runs in sets.values())) for name in names]
    return Table("Environment", ("name", *sets), found, words=True)
