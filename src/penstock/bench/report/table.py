"""Figures as rows of text: for the terminal, Markdown and the page alike."""

from collections.abc import Sequence

from msgspec import UNSET

from penstock.bench.contract.compare import Comparison
from penstock.bench.measure.figures import Figures
from penstock.bench.report.units import digits, milli
from penstock.bench.sample import ClientHealth

KINDS = (
    "stage", "requests", "failed", "req/s", "out tok/s", "TTFT p50", "TTFT p95", "TTFT p99", "ITL p50", "ITL p99",
    "TPOT p50", "E2E p50", "E2E p95", "cached", "goodput/s", "steady",
)  # fmt: skip
CELLS = (
    ("ttft", "p50"), ("ttft", "p95"), ("ttft", "p99"), ("itl", "p50"), ("itl", "p99"), ("tpot", "p50"),
    ("e2e", "p50"), ("e2e", "p95"),
)  # fmt: skip


def rows_of(figures: Figures) -> tuple[str, ...]:
    """A row of `KINDS`. Latencies in milliseconds."""
    failed = figures.requests - figures.ok - figures.endings.get("cancelled", 0)
    return (
        f"{figures.stage} {figures.kind}".strip(),
        str(figures.requests),
        str(failed),
        digits(figures.rate, 4),
        digits(figures.output_rate, 4),
        *(_milli(figures, quantity, name) for quantity, name in CELLS),
        f"{figures.cached_share:.0%}",
        "-" if figures.good is None else f"{digits(figures.good, 4)} ({figures.good_share:.1%})",
        steady_of(figures),
    )


def steady_of(figures: Figures) -> str:
    """Part of a closed loop at full concurrency; of an open one, whether its queue grows."""
    if figures.steady is not None:
        return f"{figures.steady.share:.0%}"
    if figures.growth is None:
        return "-"
    return "queue grows" if figures.growth.queue_grows else "yes"


def _milli(figures: Figures, quantity: str, name: str) -> str:
    spread = figures.spreads.get(quantity)
    return "-" if spread is None else milli(spread.at[name])


def resource_rows(stages: Sequence[Figures]) -> list[tuple[str, str, str]]:
    """(stage, quantity, value) of what is known of cost and energy."""
    wanted = []
    for each in stages:
        if each.cost is not UNSET:
            wanted += [
                (each.stage, "cost per 1K output tokens", each.cost.per_1k_output_tokens, ""),
                (each.stage, "cost per 1K requests", each.cost.per_1k_requests, ""),
            ]
        if each.energy is not UNSET:
            wanted += [
                (each.stage, f"energy ({', '.join(each.energy.sources)})", each.energy.joules, " J"),
                (each.stage, "energy per output token", each.energy.joules_per_output_token, " J"),
            ]
    return [(stage, what, f"{value:.4g}{unit}") for stage, what, value, unit in wanted if value is not UNSET]


def health_rows(client: ClientHealth) -> list[tuple[str, str]]:
    """What the client says of itself."""
    return [
        ("processes", str(client.processes)),
        ("CPU, busiest process", f"{client.busiest:.1%} of a core"),
        ("CPU in all", f"{client.cpu_s:.3g} s in {client.wall_s:.4g} s"),
        ("schedule delay p50", f"{client.lag_p50_s * 1e3:.3g} ms"),
        ("schedule delay p99", f"{client.lag_p99_s * 1e3:.3g} ms"),
        ("schedule delay, most", f"{client.lag_max_s * 1e3:.3g} ms"),
        ("rate asked for", f"{client.asked_rate:.4g}/s" if client.asked_rate else "closed loop"),
        ("rate achieved", f"{client.achieved_rate:.4g}/s" if client.asked_rate else "closed loop"),
    ]


def compared(comparison: Comparison) -> tuple[tuple[str, ...], list[tuple[str, ...]]]:
    """Header and rows of a comparison."""
    header = ("stage", "metric", "before", "after", "change", "interval", "p", "verdict")
    rows: list[tuple[str, ...]] = [
        (
            row.stage,
            row.metric,
            _value(row.metric, row.before),
            _value(row.metric, row.after),
            f"{row.change:+.1%}",
            f"{row.low:+.1%} to {row.high:+.1%}",
            f"{row.p:.3g}",
            row.verdict + (f", {row.runs_needed} runs a set may tell" if row.runs_needed else ""),
        )
        for row in comparison.rows
    ]
    return header, rows


def _value(metric: str, value: float) -> str:
    if "." in metric:
        return milli(value)
    return f"{value:.2%}" if metric == "ok_share" else f"{digits(value, 4)}/s"


def markdown(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table in Markdown."""

    def line(cells: Sequence[str]) -> str:
        return "| " + " | ".join(escaped(cell) for cell in cells) + " |"

    rule = "|" + "|".join("---" if number == 0 else "--:" for number in range(len(header))) + "|"
    return "\n".join([line(header), rule, *map(line, rows)]) + "\n"


def escaped(text: str) -> str:
    """Text that stays text in a cell of Markdown, in one line."""
    return " ".join(text.replace("&", "&amp;").replace("<", "&lt;").replace("|", "\\|").split())
