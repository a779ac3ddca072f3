"""Tables that reports of one set and of two have in common."""

from collections import Counter
from collections.abc import Mapping, Sequence

import msgspec
import yaml

from penstock.bench.contract.contract import Contract
from penstock.bench.measure.estimate import Estimate
from penstock.bench.measure.figures import Slo
from penstock.bench.report.document import Listing, Table
from penstock.bench.report.parts import Part
from penstock.bench.report.table import steady_of
from penstock.bench.report.units import digits, exact, milli, plain, seconds
from penstock.bench.sample import Ending

LATENCIES = (
    ("TTFT p50", "ttft.p50"), ("TTFT p95", "ttft.p95"), ("TTFT p99", "ttft.p99"), ("TPOT p50", "tpot.p50"),
    ("TPOT p95", "tpot.p95"), ("ITL p99", "itl.p99"), ("E2E p50", "e2e.p50"), ("E2E p95", "e2e.p95"),
    ("E2E p99", "e2e.p99"),
)  # fmt: skip
OVER = {"runs": "over runs, by Student's t", "requests": "over requests, by order statistics",
        "slices": "over ten slices of the stage, by batch means"}  # fmt: skip


def latency_table(parts: Sequence[Part], title: str = "Latency") -> Table:
    """A row per stage, intervals below the values."""
    rows = [(part.label, *(_latency(part.estimates.get(metric)) for _, metric in LATENCIES)) for part in parts]
    return Table(title, ("stage", *(name for name, _ in LATENCIES)), rows, _note(parts, "ttft.p50"))


def throughput_table(parts: Sequence[Part], title: str = "Throughput") -> Table:
    """A row per stage."""
    header = (
        "stage",
        "load",
        "requests",
        "failed",
        "seconds",
        "req/s",
        "in tok/s",
        "out tok/s",
        "cached",
        "goodput/s",
        "good",
        "steady",
    )
    rows = []
    for part in parts:
        told = part.figures
        rows.append(
            (
                part.label,
                part.stage.name,
                str(told.requests),
                str(told.requests - told.ok - told.endings.get("cancelled", 0)),
                digits(told.seconds),
                _rate(part.estimates.get("rate")),
                digits(told.input_rate, 4),
                _rate(part.estimates.get("output_rate")),
                f"{told.cached_share:.0%}",
                _rate(part.estimates.get("goodput")),
                "-" if told.good_share is None else f"{told.good_share:.1%}",
                steady_of(told),
            )
        )
    return Table(title, header, rows, _note(parts, "output_rate"))


def class_table(parts: Sequence[Part]) -> Table | None:
    """A row per class in each stage; None where there is one class only."""
    header = ("stage", "class", "requests", "failed", "req/s", "out tok/s", "TTFT p50", "TTFT p95", "TPOT p50",
              "E2E p50", "E2E p95", "goodput/s")  # fmt: skip
    cells = (("ttft", "p50"), ("ttft", "p95"), ("tpot", "p50"), ("e2e", "p50"), ("e2e", "p95"))
    rows = [
        (
            part.label,
            told.kind,
            str(told.requests),
            str(told.requests - told.ok - told.endings.get("cancelled", 0)),
            digits(told.rate, 4),
            digits(told.output_rate, 4),
            *(milli(told.spreads[name].at[level]) if name in told.spreads else "-" for name, level in cells),
            "-" if told.good is None else f"{digits(told.good, 4)} ({told.good_share:.1%})",
        )
        for part in parts
        for told in part.kinds
    ]
    return Table("By class", header, rows) if rows else None


def failure_table(parts: Sequence[Part]) -> Table | None:
    """Failures by stage and kind, the most frequent first; None where nothing failed."""
    rows = []
    for part in parts:
        found = Counter(
            (each.ending.value.replace("_", " "), str(each.status or "-"), each.error or "-")
            for each in part.samples
            if each.ending not in (Ending.OK, Ending.CANCELLED)
        )
        rows += [
            (part.label, *key, str(count), f"{count / len(part.samples):.1%}") for key, count in found.most_common(20)
        ]
    return Table("Failures", ("stage", "kind", "status", "error", "count", "of requests"), rows) if rows else None


def quantity_table(parts: Sequence[Part]) -> Table:
    """Every quantity of every stage."""
    levels = ("p50", "p90", "p95", "p99")
    rows = [
        (
            part.label,
            name,
            str(spread.count),
            *map(seconds, (spread.mean, spread.least, *(spread.at[level] for level in levels), spread.most)),
        )
        for part in parts
        for name, spread in part.figures.spreads.items()
    ]
    header = ("stage", "quantity", "values", "mean", "least", *levels, "most")
    note = "Definitions: docs/measures.md. " + " ".join(
        f"{part.label}: no usage told the tokens of {part.figures.counted_share:.0%} of the answers, which are counted."
        for part in parts
        if part.figures.counted_share
    )
    return Table("All quantities", header, rows, note.strip(), folded=True)


def environment(fingerprint: Mapping[str, str]) -> Table:
    """Machine, server, model, and what the user labelled."""
    return Table("Environment", ("name", "value"), sorted(fingerprint.items()), words=True)


def contract_listing(contract: Contract, title: str = "Contract") -> Listing:
    """The contract as YAML, to be sent again."""
    return Listing(title, yaml.safe_dump(msgspec.to_builtins(contract), sort_keys=False, allow_unicode=True))


def objective(slo: Slo) -> str:
    """An SLO in words; empty where nothing is asked for."""
    asked = [
        f"{name} ≤ {exact(value)}"
        for name, value in (("TTFT", slo.ttft), ("TPOT", slo.tpot), ("E2E", slo.e2e))
        if value
    ]
    return f"{', '.join(asked)} for {plain(slo.share * 100)}% of the requests" if asked else ""


def between(found: Estimate | None, write: str = "latency") -> str:
    """An interval in words; empty where there is none."""
    if found is None or found.low is None or found.high is None:
        return ""
    of = seconds if write == "latency" else digits
    low, high = of(found.low), of(found.high)
    number, _, unit = low.partition(" ")
    return f"{number} to {high}" if unit == high.partition(" ")[2] else f"{low} to {high}"


def _latency(found: Estimate | None) -> str:
    return "-" if found is None else f"{milli(found.value)}\n{between(found)}".rstrip()


def _rate(found: Estimate | None) -> str:
    return "-" if found is None else f"{digits(found.value, 4)}\n{between(found, 'rate')}".rstrip()


def _note(parts: Sequence[Part], metric: str) -> str:
    over = sorted({part.estimates[metric].over for part in parts if metric in part.estimates} & OVER.keys())
    return f"Below: 95% interval {OVER[over[0]]}; none where there is too little for one." if over else ""
