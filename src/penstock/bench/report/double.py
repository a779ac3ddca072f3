"""The report of two sets of runs, before and after."""

from collections import Counter

from penstock.bench.contract.compare import Comparison, Verdict
from penstock.bench.contract.contract import RunSet
from penstock.bench.report import rows
from penstock.bench.report.document import Block, Document, Plots, Table
from penstock.bench.report.parts import counted_runs, parts_of
from penstock.bench.report.plots.cdf import distribution
from penstock.bench.report.plots.change import changes
from penstock.bench.report.plots.latency import curve
from penstock.bench.report.table import compared

QUANTITIES = ("ttft", "tpot", "e2e")
MEANS = {
    Verdict.WORSE: "At least one metric is surely worse.",
    Verdict.BETTER: "At least one metric is surely better, and none is worse or open.",
    Verdict.SAME: "Every difference lies within the margin.",
    Verdict.INCONCLUSIVE: "Too few runs to say for every metric; none is surely worse.",
    Verdict.NOT_COMPARABLE: "The sets say nothing about each other.",
}
GOOD = {Verdict.WORSE: False, Verdict.BETTER: True, Verdict.SAME: True, Verdict.NOT_COMPARABLE: False}


def comparison_report(name: str, comparison: Comparison, before: RunSet, after: RunSet) -> Document:
    """The verdict, every metric with its interval, and both sets over one another."""
    sets = [("before", parts_of(before)), ("after", parts_of(after))]
    names = {part.stage.name: part.label for _, parts in sets for part in parts}
    judge, slo = before.contract.judge, before.contract.slo
    blocks: list[Block] = []
    if comparison.rows:
        header, found = compared(comparison)
        note = (
            f"Shaded: the margin of ±{judge.margin:.0%}. Intervals: {judge.level:.0%}, over runs"
            + (", in pairs. " if comparison.pairs else ". ")
            + "p is corrected over all metrics (Holm). For latencies less is better, for rates more."
        )
        blocks.append(Plots("Change", [changes(comparison, names, judge.margin)], note))
        blocks.append(Table("Metrics", header, found))
    plots = []
    for quantity in QUANTITIES:
        told = [part for _, parts in sets for part in parts if f"{quantity}.p50" in part.estimates]
        if all(len(parts) > 1 for _, parts in sets) and told:
            plots.append(curve(sets, quantity))
        if told:
            plots.append(distribution(sets, quantity, getattr(slo, quantity)))
    if plots:
        blocks.append(
            Plots("Before and after", plots, "Whiskers and bands: 95% intervals. Requests of all valid runs.")
        )
    for which, parts in sets:
        blocks += [
            rows.throughput_table(parts, f"Throughput {which}"),
            rows.latency_table(parts, f"Latency {which}"),
        ]
        blocks += [table for table in (rows.failure_table(parts),) if table is not None]
    blocks += [_sets(before, after), _environments(before, after), rows.contract_listing(before.contract)]
    if before.contract != after.contract:
        blocks.append(rows.contract_listing(after.contract, "Contract after"))
    count = Counter(str(row.verdict) for row in comparison.rows)
    about = ", ".join(f"{number} {verdict}" for verdict, number in count.items())
    return Document(
        name,
        f"{len(comparison.rows)} metrics: {about}" if about else "",
        f"Verdict: {comparison.verdict}. {MEANS[comparison.verdict]}",
        GOOD.get(comparison.verdict),
        comparison.problems,
        blocks,
    )


def _sets(before: RunSet, after: RunSet) -> Table:
    def row(name: str, runs: RunSet) -> tuple[str, ...]:
        valid = [run for run in runs.runs if not run.invalid]
        lag = max((run.client.lag_p99_s for run in counted_runs(runs)), default=0.0)
        return (
            name,
            runs.contract.name,
            runs.made or "-",
            str(len(runs.runs)),
            str(len(valid)),
            ", ".join(str(run.seed) for run in runs.runs),
            f"{lag * 1e3:.3g} ms",
        )

    header = ("set", "contract", "made", "runs", "valid", "seeds", "schedule delay p99, most")
    return Table("Sets", header, [row("before", before), row("after", after)], words=True)


def _environments(before: RunSet, after: RunSet) -> Table:
    names = sorted(before.fingerprint.keys() | after.fingerprint.keys())
    found = [
        (name, old, new, "" if old == new else "differs")
        for name in names
        for old, new in [(before.fingerprint.get(name, "-"), after.fingerprint.get(name, "-"))]
    ]
    return Table("Environment", ("name", "before", "after", ""), found, words=True)
