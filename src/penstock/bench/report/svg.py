"""Plots as SVG: axes with round ticks, lines, bands, bars with whiskers. Colours are classes; the page says which."""

from collections.abc import Sequence
from html import escape
from math import ceil, floor, inf, log10

import msgspec

WIDTH, HEIGHT = 640, 300
LEFT, RIGHT, TOP, BOTTOM = 64, 12, 30, 46
MOST_POINTS = 400
"""Of one line. Of more, each stretch keeps its least and its greatest."""


class Line(msgspec.Struct):
    """One curve. `low` and `high`, where given, make a band."""

    name: str
    x: Sequence[float]
    y: Sequence[float]
    low: Sequence[float] = ()
    high: Sequence[float] = ()
    dots: bool = False


class Axis(msgspec.Struct, frozen=True):
    """How one direction is labelled. With `log` all values must be above 0."""

    label: str
    log: bool = False
    least: float | None = None


class _Scale:
    def __init__(self, axis: Axis, low: float, high: float, begin: float, end: float) -> None:
        if axis.least is not None:
            low = min(low, axis.least)
        if high <= low:
            high = low + (abs(low) or 1.0)
        self._log = axis.log
        self._begin, self._end = begin, end
        self.ticks = _decades(low, high) if axis.log else _round(low, high)
        self._low, self._high = (min(low, self.ticks[0]), max(high, self.ticks[-1])) if self.ticks else (low, high)

    def __call__(self, value: float) -> float:
        low, high = self._low, self._high
        if self._log:
            low, high, value = log10(low), log10(high), log10(max(value, 1e-12))
        return self._begin + (value - low) / (high - low) * (self._end - self._begin)


def lines(title: str, x: Axis, y: Axis, curves: Sequence[Line], shades: Sequence[tuple[float, float, str]] = ()) -> str:
    """A plot of curves over one another. `shades`: stretches of x with a name, drawn behind."""
    curves = [_thinned(curve) for curve in curves if len(curve.x)]
    xs = [value for curve in curves for value in curve.x] + [edge for begin, end, _ in shades for edge in (begin, end)]
    ys = [value for curve in curves for value in (*curve.y, *curve.low, *curve.high)]
    if not curves or not ys:
        return _nothing(title)
    across = _Scale(x, min(xs), max(xs), LEFT, WIDTH - RIGHT)
    up = _Scale(y, min(ys), max(ys), HEIGHT - BOTTOM, TOP)
    drawn = [_frame(across, up, x, y)]
    for number, (begin, end, name) in enumerate(shades):
        left, right = across(begin), across(end)
        drawn.append(
            f'<rect class="shade{number % 2}" x="{left:.1f}" y="{TOP}" width="{max(0.0, right - left):.1f}" '
            f'height="{HEIGHT - TOP - BOTTOM}"><title>{escape(name)}</title></rect>'
        )
    for number, curve in enumerate(curves):
        points = [(across(a), up(b)) for a, b in zip(curve.x, curve.y, strict=True)]
        if len(curve.low):
            edge = [(across(a), up(b)) for a, b in zip(curve.x, curve.high, strict=True)]
            edge += reversed([(across(a), up(b)) for a, b in zip(curve.x, curve.low, strict=True)])
            drawn.append(f'<polygon class="band c{number % 6}" points="{_path(edge)}"/>')
        drawn.append(f'<polyline class="line c{number % 6}" points="{_path(points)}"/>')
        if curve.dots:
            drawn += [f'<circle class="dot c{number % 6}" cx="{a:.1f}" cy="{b:.1f}" r="3"/>' for a, b in points]
    return _whole(title, drawn, [curve.name for curve in curves])


def bars(title: str, label: str, found: Sequence[tuple[str, float, float, float]]) -> str:
    """Bars that lie, with whiskers: (name, value, low, high)."""
    if not found:
        return _nothing(title)
    row, left = 26, 190
    height = TOP + row * len(found) + BOTTOM
    values = [value for _, *numbers in found for value in numbers]
    across = _Scale(Axis(label), min(0.0, *values), max(values), left, WIDTH - RIGHT)
    zero = across(0.0)
    drawn = []
    for number, (name, value, low, high) in enumerate(found):
        middle = TOP + row * number + row / 2
        begin, end = sorted((zero, across(value)))
        drawn.append(f'<text class="name" x="{left - 8}" y="{middle + 4:.1f}">{escape(_short(name, 28))}</text>')
        drawn.append(
            f'<rect class="bar c0" x="{begin:.1f}" y="{middle - 8:.1f}" height="16" width="{max(1, end - begin):.1f}">'
            f"<title>{escape(name)}: {value:.4g} ({low:.4g} to {high:.4g})</title></rect>"
        )
        drawn.append(f'<path class="whisker" d="M{across(low):.1f} {middle:.1f}H{across(high):.1f}"/>')
    for tick in across.ticks:
        drawn.append(f'<text class="tick" x="{across(tick):.1f}" y="{height - BOTTOM + 16}">{_number(tick)}</text>')
    drawn.append(f'<text class="label" x="{(left + WIDTH) / 2}" y="{height - 10}">{escape(label)}</text>')
    drawn.append(f'<path class="axis" d="M{zero:.1f} {TOP}V{height - BOTTOM}"/>')
    return _whole(title, drawn, [], height)


def _frame(across: _Scale, up: _Scale, x: Axis, y: Axis) -> str:
    parts = []
    for tick in across.ticks:
        at = across(tick)
        parts.append(f'<path class="grid" d="M{at:.1f} {TOP}V{HEIGHT - BOTTOM}"/>')
        parts.append(f'<text class="tick" x="{at:.1f}" y="{HEIGHT - BOTTOM + 16}">{_number(tick)}</text>')
    for tick in up.ticks:
        at = up(tick)
        parts.append(f'<path class="grid" d="M{LEFT} {at:.1f}H{WIDTH - RIGHT}"/>')
        parts.append(f'<text class="tick side" x="{LEFT - 6}" y="{at + 4:.1f}">{_number(tick)}</text>')
    middle = (TOP + HEIGHT - BOTTOM) / 2
    parts.append(f'<text class="label" x="{(LEFT + WIDTH - RIGHT) / 2}" y="{HEIGHT - 10}">{escape(x.label)}</text>')
    parts.append(f'<text class="label" transform="translate(14 {middle}) rotate(-90)">{escape(y.label)}</text>')
    return "".join(parts)


def _whole(title: str, drawn: Sequence[str], names: Sequence[str], height: int = HEIGHT) -> str:
    legend, at = [], float(LEFT)
    for number, name in enumerate(names if len(names) > 1 else ()):
        shown = _short(name, 22)
        legend.append(f'<rect class="key c{number % 6}" x="{at:.0f}" y="10" width="12" height="4"/>')
        legend.append(f'<text class="legend" x="{at + 16:.0f}" y="16">{escape(shown)}</text>')
        at += 30 + 6.6 * len(shown)
    return (
        f'<svg viewBox="0 0 {WIDTH} {height}" role="img" aria-label="{escape(title)}">'
        f"<title>{escape(title)}</title>{''.join(drawn)}{''.join(legend)}</svg>"
    )


def _nothing(title: str) -> str:
    text = f'<text class="label" x="{WIDTH / 2}" y="34">nothing was measured</text>'
    return f'<svg viewBox="0 0 {WIDTH} 60" role="img" aria-label="{escape(title)}">{text}</svg>'


def _path(points: Sequence[tuple[float, float]]) -> str:
    return " ".join(f"{a:.1f},{b:.1f}" for a, b in points)


def _short(text: str, most: int) -> str:
    return text if len(text) <= most else text[: most - 1] + "…"


def _round(low: float, high: float) -> list[float]:
    """About five ticks at 1, 2 or 5 times a power of ten."""
    raw = (high - low) / 5
    power = 10 ** floor(log10(raw))
    step = next(factor * power for factor in (1, 2, 5, 10) if factor * power >= raw)
    return [number * step for number in range(floor(low / step), ceil(high / step) + 1)]


def _decades(low: float, high: float) -> list[float]:
    first, last = floor(log10(low)), ceil(log10(high))
    factors = (1, 2, 5) if last - first <= 2 else (1,)
    ticks = [factor * 10.0**power for power in range(first, last + 1) for factor in factors]
    below = max((tick for tick in ticks if tick <= low), default=-inf)
    above = min((tick for tick in ticks if tick >= high), default=inf)
    return [tick for tick in ticks if below <= tick <= above]


def _number(value: float) -> str:
    text = f"{value:.3g}"
    return f"{value:,.0f}" if "e+" in text else text


def _thinned(curve: Line) -> Line:
    count = len(curve.x)
    if count <= MOST_POINTS or len(curve.low):
        return curve
    step = ceil(count / (MOST_POINTS // 2))
    kept: list[int] = []
    for begin in range(0, count, step):
        part = range(begin, min(count, begin + step))
        ends = sorted({min(part, key=curve.y.__getitem__), max(part, key=curve.y.__getitem__)})
        kept += ends
    kept = sorted({0, *kept, count - 1})
    return Line(curve.name, [curve.x[i] for i in kept], [curve.y[i] for i in kept], dots=curve.dots)
