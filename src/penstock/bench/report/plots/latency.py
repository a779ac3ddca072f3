"""Latency against throughput: a point per stage. Those of one kind of loop are joined, in their order."""

from collections.abc import Sequence

import msgspec

from penstock.bench.measure.estimate import Estimate
from penstock.bench.report.document import Plot
from penstock.bench.report.parts import Part
from penstock.bench.report.place import places
from penstock.bench.report.plots.frames import (
    NAMES,
    NARROW,
    SHORT,
    WIDE,
    drawn,
    frame,
    legend_height,
    pair,
    panel_of,
    unit_of,
)  # fmt: skip
from penstock.bench.report.scale import linear
from penstock.bench.report.svg import Key, Panel, line, mark, text, whisker
from penstock.bench.report.units import plain, seconds, tokens_rate

LEVELS = ("p50", "p95")
ROOM = 1.1
"""How much farther than the last point the axis goes."""


class _Point(msgspec.Struct, frozen=True):
    label: str
    rate: Estimate
    latency: Estimate
    closed: bool


class _Curve(msgspec.Struct, frozen=True):
    name: str
    number: int
    dash: str
    shape: int
    points: list[_Point]


def curve(sets: Sequence[tuple[str, Sequence[Part]]], quantity: str) -> Plot:
    """`sets`: (name, stages) of one set of runs, whose name may be empty, or of two that are compared."""
    curves = [
        _Curve(
            f"{name} {level}".strip(),
            number if len(sets) > 1 else place,
            "" if not place else "7 3",
            number * len(LEVELS) + place,
            _points(parts, quantity, level),
        )
        for number, (name, parts) in enumerate(sets)
        for place, level in enumerate(LEVELS)
    ]
    title = f"{NAMES[quantity]} against throughput"
    desc = f"{SHORT[quantity]} {' and '.join(LEVELS)} at each stage's output tokens/s. " + " ".join(
        _told(name, parts, quantity) for name, parts in sets
    )
    return pair(title, desc, *(_draw(title, desc, quantity, curves, width) for width in (WIDE, NARROW)))


def _points(parts: Sequence[Part], quantity: str, level: str) -> list[_Point]:
    return [
        _Point(
            part.label, part.estimates["output_rate"], part.estimates[f"{quantity}.{level}"], part.stage.concurrency > 0
        )
        for part in parts
        if f"{quantity}.{level}" in part.estimates
    ]


def _told(name: str, parts: Sequence[Part], quantity: str) -> str:
    return " ".join(
        f"{name} {part.label}: {tokens_rate(part.estimates['output_rate'].value)}, ".lstrip()
        + ", ".join(
            f"{level} {seconds(found.value)}"
            for level in LEVELS
            if (found := part.estimates.get(f"{quantity}.{level}")) is not None
        )
        + "."
        for part in parts
    )


def _draw(title: str, desc: str, quantity: str, curves: Sequence[_Curve], width: float) -> str:
    points = [point for each in curves for point in each.points]
    keys = [Key(each.name, each.number, each.dash, each.shape) for each in curves]
    unit, factor = unit_of([point.latency.value for point in points])
    x = linear([point.rate.value * ROOM for point in points], zero=True, tight=True)
    y = linear([edge for point in points for edge in _edges(point.latency)], zero=True)
    panel = panel_of(width, legend_height(keys, width), x, y)
    parts = [
        frame(panel, plain, lambda tick: plain(tick * factor), "output tokens/s", f"{SHORT[quantity]}, {unit}"),
    ]
    for each in curves:
        where = [panel.at(point.rate.value, point.latency.value) for point in each.points]
        parts += [
            whisker(
                panel.at(point.rate.value, point.latency.low),
                panel.at(point.rate.value, point.latency.high),
                each.number,
            )
            for point in each.points
            if point.latency.low is not None and point.latency.high is not None
        ]
        for closed in (True, False):
            joined = [at for at, point in zip(where, each.points, strict=True) if point.closed == closed]
            if joined:
                parts.append(line(joined, each.number, each.dash))
        parts += [
            mark(
                at, each.number,
                f"{point.label} {each.name}: {seconds(point.latency.value)} at {tokens_rate(point.rate.value)}",
                each.shape,
            )
            for at, point in zip(where, each.points, strict=True)
        ]  # fmt: skip
    parts += _labels(curves, panel)
    return drawn(title, desc, width, keys, parts, panel)


def _labels(curves: Sequence[_Curve], panel: Panel) -> list[str]:
    """Of the upper curve of each set, so that no stage is named twice in one place."""
    upper = curves[1::2]
    taken = [panel.at(point.rate.value, point.latency.value) for each in curves for point in each.points]
    for each in curves:
        for point in each.points:
            least, most = min(_edges(point.latency)), max(_edges(point.latency))
            taken += [panel.at(point.rate.value, least + (most - least) * k / 4) for k in range(5)]
        for one, two in zip(each.points, each.points[1:], strict=False):
            a, b = (panel.at(point.rate.value, point.latency.value) for point in (one, two))
            taken += [(a[0] + (b[0] - a[0]) * k / 8, a[1] + (b[1] - a[1]) * k / 8) for k in range(1, 8)]
    anchors = [
        (panel.at(point.rate.value, point.latency.value), point.label)
        for each in upper[-1:]
        for point in each.points
    ]  # fmt: skip
    return [
        text(at, words, "name", anchor)
        for (at, anchor), (_, words) in zip(places(anchors, taken, panel.box), anchors, strict=True)
    ]


def _edges(found: Estimate) -> list[float]:
    return [each for each in (found.value, found.low, found.high) if each is not None]
