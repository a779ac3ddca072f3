"""Distributions: which part of the requests had at most so much."""

from collections.abc import Sequence
from math import sqrt

import msgspec

from penstock.bench.measure.figures import PER_REQUEST
from penstock.bench.measure.quantile import quantile
from penstock.bench.report.document import Plot
from penstock.bench.report.parts import Part
from penstock.bench.report.plots.frames import (
    FROM,
    NAMES,
    NARROW,
    SHORT,
    WIDE,
    drawn,
    durations,
    frame,
    legend_height,
    objective,
    pair,
    panel_of,
)  # fmt: skip
from penstock.bench.report.scale import linear
from penstock.bench.report.svg import DASHES, Key, Point, band, line, mark, nothing
from penstock.bench.report.units import seconds

POINTS = 160
"""Of one line; its ends are always among them."""
BANDS = 4
"""Lines up to which each has a band: more bands hide one another."""
Z = 1.96


class _Line(msgspec.Struct, frozen=True):
    name: str
    number: int
    dash: str
    values: list[float]
    """In order."""


def distribution(sets: Sequence[tuple[str, Sequence[Part]]], quantity: str, slo: float = 0.0) -> Plot:
    """A line per stage; of two sets that are compared, the first's are dashed."""
    lines = []
    for which, (name, parts) in enumerate(sets):
        for number, part in enumerate(parts):
            dash = DASHES[number % len(DASHES)] if len(sets) == 1 else DASHES[1 - which]
            values = sorted(value for each in part.samples if (value := PER_REQUEST[quantity](each)) is not None)
            if values:
                lines.append(_Line(f"{part.label} {name}".strip(), number, dash, values))
    title = f"{NAMES[quantity]}, distribution"
    desc = f"Part of the requests with at most so much {SHORT[quantity]}. " + " ".join(map(_told, lines))
    if not lines:
        return pair(title, desc, nothing(title, WIDE), nothing(title, NARROW))
    return pair(title, desc, *(_draw(title, desc, quantity, lines, slo, width) for width in (WIDE, NARROW)))


def _told(each: _Line) -> str:
    levels = ", ".join(f"p{level} {seconds(quantile(each.values, level / 100))}" for level in (50, 95, 99))
    return f"{each.name}: {levels}, {len(each.values)} requests."


def _draw(title: str, desc: str, quantity: str, lines: Sequence[_Line], slo: float, width: float) -> str:
    keys = [Key(each.name, each.number, each.dash, each.number) for each in lines]
    x, write, unit = durations([edge for each in lines for edge in (each.values[0], each.values[-1])], count=5)
    panel = panel_of(width, legend_height(keys, width), x, linear((0.0, 1.0)))
    parts = [
        frame(panel, write, lambda tick: f"{tick:.0%}", f"{FROM[quantity]}{unit}", "requests at or below"),
        objective(panel, slo, upright=True),
    ]
    for each in lines:
        count = len(each.values)
        steps = [(each.values[rank - 1], rank / count) for rank in _ranks(count)]
        if len(lines) <= BANDS and count > 1:
            spread = [(value, part, Z * sqrt(part * (1 - part) / count)) for value, part in steps]
            low = [panel.at(value, max(0.0, part - half)) for value, part, half in spread]
            high = [panel.at(value, min(1.0, part + half)) for value, part, half in spread]
            parts.append(band(low, high, each.number))
        parts.append(line(_stairs([panel.at(*step) for step in steps], panel.box.bottom), each.number, each.dash))
        for level in (0.5, 0.95):
            value = quantile(each.values, level)
            tip = f"{each.name} p{level * 100:.0f}: {seconds(value)}"
            parts.append(mark(panel.at(value, level), each.number, tip))
    return drawn(title, desc, width, keys, parts, panel)


def _ranks(count: int) -> list[int]:
    if count <= POINTS:
        return list(range(1, count + 1))
    return sorted({1 + round(number * (count - 1) / (POINTS - 1)) for number in range(POINTS)})


def _stairs(points: Sequence[Point], bottom: float) -> list[Point]:
    """From the bottom up: level to each value, then up to its part."""
    found: list[Point] = []
    below = bottom
    for x, y in points:
        found += [(x, below), (x, y)]
        below = y
    return found
