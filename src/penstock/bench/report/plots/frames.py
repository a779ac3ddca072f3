"""What all plots of one panel have in common: sizes, margins, units of latencies."""

from collections.abc import Sequence

from penstock.bench.report.document import Plot
from penstock.bench.report.scale import Scale, linear, logarithmic, wide
from penstock.bench.report.svg import Box, Key, Panel, Write, frame, legend, rule, text, whole, width_of
from penstock.bench.report.units import duration_tick, exact, plain

WIDE, NARROW = 560.0, 360.0
LEFT, RIGHT = 56.0, 14.0
NAMES = {"ttft": "Time to first token", "tpot": "Time per output token", "e2e": "End to end", "itl": "Between tokens"}
FROM = {"ttft": "TTFT from due", "tpot": "TPOT", "e2e": "E2E from due", "itl": "ITL"}
SHORT = {"ttft": "TTFT", "tpot": "TPOT", "e2e": "E2E", "itl": "ITL"}


def unit_of(values: Sequence[float]) -> tuple[str, float]:
    """(unit, factor) in which seconds are best told on a linear axis."""
    most = max(map(abs, values), default=1.0)
    return ("s", 1.0) if most >= 2 else ("ms", 1e3) if most >= 2e-3 else ("µs", 1e6)


def durations(values: Sequence[float], *, count: int) -> tuple[Scale, Write, str]:
    """(scale, how ticks are written, unit for the label) of an axis of seconds; logarithmic if they are far apart."""
    above = [value for value in values if value > 0]
    if wide(above):
        return logarithmic(above, count=min(count, 4)), duration_tick, ""
    unit, factor = unit_of(values)
    return linear(values, count=count, tight=True), lambda tick: plain(tick * factor), f", {unit}"


def objective(panel: Panel, value: float, *, upright: bool) -> str:
    """A line where the objective is, with its name; nothing where it lies outside."""
    box, words = panel.box, f"SLO {exact(value)}"
    if not value or not (panel.x if upright else panel.y).holds(value):
        return ""
    if upright:
        at = panel.at(value, panel.y.low)[0]
        fits = at + 6 + width_of(words) < box.right
        where, anchor = ((at + 4, box.bottom - 6), "start") if fits else ((at - 4, box.bottom - 6), "end")
        return rule(at, box.top, box.bottom, "slo") + text(where, words, "slo-name", anchor)
    up = panel.at(panel.x.low, value)[1]
    return f'<path class="slo" d="M{box.left:.1f} {up:.1f}H{box.right:.1f}"/>' + text(
        (box.left + 4, up - 4), words, "slo-name", "start"
    )


def height_of(width: float) -> float:
    return 250.0 if width > NARROW else 195.0


def panel_of(width: float, top: float, x: Scale, y: Scale) -> Panel:
    """A panel below `top`, with room for ticks and labels."""
    return Panel(Box(LEFT, top + 24, width - RIGHT, top + 24 + height_of(width)), x, y)


def drawn(title: str, desc: str, width: float, keys: Sequence[Key], parts: Sequence[str], panel: Panel) -> str:
    """The whole drawing: legend above, panel, label below."""
    names, _ = legend(keys, 4, 2, width - 8)
    return whole(title, desc, width, panel.box.bottom + 44, [*parts, names])


def legend_height(keys: Sequence[Key], width: float) -> float:
    return legend(keys, 4, 2, width - 8)[1]


def pair(title: str, desc: str, wide: str, narrow: str, *, full: bool = False) -> Plot:
    return Plot(title, desc, wide, narrow, full)


__all__ = [
    "FROM",
    "LEFT", "NAMES", "NARROW", "RIGHT", "SHORT", "WIDE", "drawn", "durations", "frame", "legend_height", "objective",
    "pair",
    "panel_of", "unit_of",
]  # fmt: skip
