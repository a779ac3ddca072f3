"""Which plots a run has."""

from collections.abc import Sequence

from penstock.bench.contract.compare import Comparison
from penstock.bench.measure.figures import Figures
from penstock.bench.measure.moments import e2e, ttft
from penstock.bench.measure.timeline import Slice, timeline
from penstock.bench.report.svg import Axis, Line, bars, lines
from penstock.bench.sample import Run, Sample

SECONDS = Axis("seconds since the run began")


def curve(stages: Sequence[Figures], quantity: str) -> str:
    """Latency against throughput: a point per stage."""
    shown = sorted((each for each in stages if quantity in each.spreads), key=lambda each: each.output_rate)
    lines_of = [
        Line(
            name,
            [each.output_rate for each in shown],
            [each.spreads[quantity].at[name] for each in shown],
            dots=True,
        )
        for name in ("p50", "p95", "p99")
    ]
    name = quantity.upper()
    return lines(f"{name} against throughput", Axis("output tokens/s", least=0.0),
                 Axis(f"{name}, s", least=0.0), lines_of)  # fmt: skip


def distribution(samples: Sequence[Sample]) -> str:
    """Which part of the requests was answered by when, from due."""
    found = {
        "first token": sorted(value for sample in samples if (value := ttft(sample)) is not None),
        "whole answer": sorted(value for sample in samples if (value := e2e(sample)) is not None),
    }
    drawn = [
        Line(name, values, [(number + 1) / len(values) for number in range(len(values))])
        for name, values in found.items()
        if values and values[0] > 0
    ]
    return lines("Answered by", Axis("seconds since due", log=True), Axis("part of requests", least=0.0), drawn)


def gaps(samples: Sequence[Sample]) -> str:
    """The times between pieces of streams, all pooled."""
    values = sorted(gap for sample in samples for gap in sample.gaps)
    above = [(gap, (number + 1) / len(values)) for number, gap in enumerate(values) if gap > 0]
    drawn = [Line("between tokens", [gap for gap, _ in above], [part for _, part in above])] if above else []
    return lines("Time between tokens", Axis("seconds", log=True), Axis("part of gaps", least=0.0), drawn)


def over_time(run: Run) -> list[str]:
    """Load, latency and what engines said, on one time axis."""
    told = timeline(run.samples)
    shades = [(stage.begin, stage.end, stage.name) for stage in run.stages]
    at = [each.at for each in told]
    first = [each for each in told if each.ttft_p50 is not None]
    found = [
        lines("Requests in flight", SECONDS, Axis("requests", least=0.0),
              [Line("in flight", at, [float(each.in_flight) for each in told])], shades),
        lines("Tokens", SECONDS, Axis("output tokens/s", least=0.0),
              [Line("tokens/s", at, [each.tokens for each in told])], shades),
        lines("Time to first token", SECONDS, Axis("seconds", least=0.0),
              [_of(first, "p50"), _of(first, "p95")], shades),
    ]  # fmt: skip
    if any(each.failed for each in told):
        failed = Line("failed", at, [float(each.failed) for each in told])
        found.append(lines("Failures", SECONDS, Axis("requests", least=0.0), [failed], shades))
    names = dict.fromkeys(series.name for series in run.series)
    for name in names:
        own = [series for series in run.series if series.name == name and series.at]
        drawn = [Line(series.source, series.at, series.values) for series in own]
        unit = own[0].unit if own else ""
        found.append(lines(name.replace("_", " "), SECONDS, Axis(unit or name, least=0.0), drawn, shades))
    return found


def changes(comparison: Comparison) -> str:
    """How much each metric changed, in per cent."""
    found = [
        (f"{row.metric} {row.stage}", row.change * 100, row.low * 100, row.high * 100)
        for row in comparison.rows
        if row.before
    ]
    return bars("Change", "per cent; whiskers: interval", found)


def _of(told: Sequence[Slice], name: str) -> Line:
    values = [(each.ttft_p50 if name == "p50" else each.ttft_p95) or 0.0 for each in told]
    return Line(name, [each.at for each in told], values)
