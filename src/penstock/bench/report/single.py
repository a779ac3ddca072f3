"""The report of one set of runs."""

import datetime
from collections.abc import Sequence

from penstock.bench.contract.contract import RunSet
from penstock.bench.measure.bound import explain
from penstock.bench.report import rows
from penstock.bench.report.document import Block, Card, Cards, Document, Plots, Table
from penstock.bench.report.parts import Part, counted_runs, parts_of, shown_run
from penstock.bench.report.plots.cdf import distribution
from penstock.bench.report.plots.latency import curve
from penstock.bench.report.plots.timeline import over_time
from penstock.bench.report.table import health_rows, resource_rows, rows_of
from penstock.bench.report.units import digits, rate, seconds
from penstock.bench.sample import Run

QUANTITIES = ("ttft", "tpot", "e2e")
CARDS = (
    ("TTFT p50", "ttft.p50"), ("TTFT p95", "ttft.p95"), ("TTFT p99", "ttft.p99"), ("TPOT p50", "tpot.p50"),
    ("E2E p50", "e2e.p50"), ("E2E p95", "e2e.p95"), ("Output tokens/s", "output_rate"), ("Requests/s", "rate"),
)  # fmt: skip


def run_report(runs: RunSet) -> Document:
    """What came of a set, with its last valid run in full."""
    shown, parts = shown_run(runs), parts_of(runs)
    slo = runs.contract.slo
    blocks: list[Block | None] = [_glance(runs, parts)]
    blocks += [rows.throughput_table(parts), rows.latency_table(parts), rows.failure_table(parts)]
    blocks.append(_bounds(shown, parts))
    known = resource_rows([part.figures for part in parts])
    blocks.append(Table("Cost and energy", ("stage", "quantity", "value"), known, words=True) if known else None)
    own = [("", parts)]
    plots = []
    for quantity in QUANTITIES:
        if len([part for part in parts if f"{quantity}.p50" in part.estimates]) > 1:
            plots.append(curve(own, quantity))
        if any(f"{quantity}.p50" in part.estimates for part in parts) or quantity == "ttft":
            plots.append(distribution(own, quantity, getattr(slo, quantity)))
    blocks.append(
        Plots("Latency", plots, "Whiskers and bands: 95% intervals. Latencies count from when a request was due.")
    )
    blocks.append(Plots("Over time", [over_time(shown, parts)], _which(runs, shown)))
    blocks += [
        rows.class_table(parts),
        _runs(runs) if len(runs.runs) > 1 else None,
        rows.quantity_table(parts),
        Table("Client", ("quantity", "value"), health_rows(shown.client), words=True),
        _configuration(runs, shown),
        rows.environment(runs.fingerprint or shown.fingerprint),
        rows.contract_listing(runs.contract),
    ]
    verdict, good = _verdict(runs)
    notes = [*shown.notes, *(f"{part.label}: {part.figures.notice}." for part in parts if part.figures.notice)]
    return Document(
        shown.name, _about(runs, shown), verdict, good, notes, [block for block in blocks if block is not None]
    )


def _about(runs: RunSet, shown: Run) -> str:
    count = len(runs.runs)
    several = f"{count} runs of " if count > 1 else ""
    model = shown.fingerprint.get("server.model") or runs.contract.workload.model
    return (
        f"{several}{len(shown.samples)} requests in {len(shown.stages)} stage{'s'[: len(shown.stages) != 1]}"
        + (f", model {model}" if model else "")
        + f", seed {shown.seed}, {_when(shown.began)}"
    )


def _verdict(runs: RunSet) -> tuple[str, bool]:
    wrong = [(number, run.invalid) for number, run in enumerate(runs.runs, 1) if run.invalid]
    if not wrong:
        count = len(runs.runs)
        return f"Valid: the client kept up{f' in all {count} runs' if count > 1 else ''}.", True
    if len(wrong) == len(runs.runs):
        return f"Not valid: {wrong[-1][1]}.", False
    told = "; ".join(f"run {number}: {why}" for number, why in wrong)
    return f"Valid: {len(runs.runs) - len(wrong)} of {len(runs.runs)} runs. Left out: {told}.", True


def _glance(runs: RunSet, parts: Sequence[Part]) -> Cards | None:
    """Of the stage that counts: the fastest of those that meet the SLO, else the fastest."""
    if not parts:
        return None
    slo = runs.contract.slo
    meets = [part for part in parts if slo.asks and (part.figures.good_share or 0.0) >= slo.share]
    best = max(meets or parts, key=lambda part: part.estimates["output_rate"].value)
    cards = []
    for label, metric in CARDS:
        found = best.estimates.get(metric)
        if found is None:
            continue
        kind = "latency" if "." in metric else "rate"
        value = seconds(found.value) if kind == "latency" else digits(found.value, 4)
        cards.append(Card(label, value, rows.between(found, kind) or "no interval: too few"))
    told = best.figures
    failed = told.requests - told.ok - told.endings.get("cancelled", 0)
    cards.append(Card("Failed", str(failed), f"of {told.requests} requests"))
    if (goodput := best.estimates.get("goodput")) is not None:
        share = best.figures.good_share or 0.0
        sure = rows.between(goodput, "rate")
        cards.append(
            Card("Goodput", rate(goodput.value), f"{sure + '; ' if sure else ''}{share:.1%} good", share >= slo.share)
        )
    why = ""
    if len(parts) > 1:
        why = "It has the most output tokens/s" + (" of the stages that meet the SLO. " if meets else ". ")
        if slo.asks and not meets:
            why += "No stage meets the SLO. "
    asked = rows.objective(slo)
    note = why + (f"SLO: {asked}. " if asked else "") + "Below each: its 95% interval."
    return Cards(f"At a glance: {best.label}" if len(parts) > 1 else "At a glance", cards, note)


def _runs(runs: RunSet) -> Table:
    header = ("run", "stage", "seed", "valid", "req/s", "out tok/s", "TTFT p50", "TTFT p95", "TPOT p50", "E2E p95")
    found = []
    for number, run in enumerate(runs.runs, 1):
        for part in parts_of(RunSet(runs.contract, runs.fingerprint, [run])):
            cells = rows_of(part.figures)
            valid = "no" if run.invalid else "yes"
            found.append(
                (
                    f"Run {number}",
                    part.label,
                    str(run.seed),
                    valid,
                    cells[3],
                    cells[4],
                    cells[5],
                    cells[6],
                    cells[10],
                    cells[12],
                )
            )
    return Table("Runs", header, found, folded=len(found) > 8)


def _bounds(run: Run, parts: Sequence[Part]) -> Table:
    found = []
    for number, part in enumerate(parts):
        limit = explain(run, number, part.figures)
        found.append((part.label, limit.bound.what, limit.bound.why, limit.advice))
    return Table("What bounds it", ("stage", "bound by", "why", "what to try"), found, words=True)


def _which(runs: RunSet, shown: Run) -> str:
    if len(runs.runs) < 2:
        return ""
    number = next(number for number, run in enumerate(runs.runs, 1) if run is shown)
    pooled = len(counted_runs(runs))
    return f"Run {number} of {len(runs.runs)}; distributions and intervals are of {pooled} runs."


def _configuration(runs: RunSet, shown: Run) -> Table:
    workload = runs.contract.workload
    found = [
        ("contract", f"{runs.contract.name}, load {runs.contract.digest}"),
        ("seeds", ", ".join(str(run.seed) for run in runs.runs)),
        ("endpoint", f"{workload.api}, {'streams' if workload.stream else 'whole answers'}"),
        ("temperature", f"{workload.temperature:g}"),
        ("exact output", "yes (ignore_eos)" if workload.exact_output else "no"),
        ("warm-up", f"{workload.warmup} requests, not counted"),
        ("between stages", f"{workload.gap:g} s"),
        ("SLO", rows.objective(runs.contract.slo) or "none"),
        ("began", _when(shown.began)),
        ("made", runs.made or "-"),
    ]
    return Table("Configuration", ("name", "value"), found, words=True)


def _when(wall: float) -> str:
    return datetime.datetime.fromtimestamp(wall, datetime.UTC).strftime("%Y-%m-%d %H:%M UTC")
