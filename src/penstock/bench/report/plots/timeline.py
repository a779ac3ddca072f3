"""One run over time: panels above one another on one axis, stages as shaded bands."""

from bisect import bisect_left
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import TypeVar

import msgspec

from penstock.bench.measure.moments import ttft
from penstock.bench.measure.timeline import Slice, timeline
from penstock.bench.report.document import Plot
from penstock.bench.report.parts import Part
from penstock.bench.report.plots.frames import pair, unit_of
from penstock.bench.report.scale import Scale, linear, logarithmic, wide
from penstock.bench.report.svg import (
    Box,
    Key,
    Panel,
    Write,
    cut,
    frame,
    legend,
    line,
    nothing,
    text,
    whole,
    width_of,
)  # fmt: skip
from penstock.bench.report.units import duration_tick, plain
from penstock.bench.sample import Ending, Run, Sample, Series

FULL, SLIM = 920.0, 360.0
PER_SLICE = 10
"""Requests that a slice should hold, so that a rate is not one request or none."""
MOST_SLICES, LEAST_SLICES = 150, 12
MOST_MARKS = 500
"""Requests drawn one by one; of more, every so many-th."""
TOGETHER = {"running": "load", "waiting": "load", "queue": "load"}
"""Series that share a panel."""
TITLES = {
    "kv_utilisation": "KV cache in use, %",
    "load": "requests at engines",
    "cpu": "CPU, cores",
    "memory": "memory, MB",
}

Moment = TypeVar("Moment")


class _Curve(msgspec.Struct, frozen=True):
    name: str
    number: int
    x: Sequence[float]
    y: Sequence[float]
    dash: str = ""
    broken: bool = False
    """Not drawn from one stage to the next."""


class _Strip(msgspec.Struct, frozen=True):
    """One panel before it is drawn."""

    title: str
    curves: list[_Curve]
    scatter: Sequence[tuple[float, float]] = ()
    crosses: Sequence[float] = ()
    """Moments of failures."""
    log: bool = False
    factor: float = 1.0
    high: float = 96.0


def over_time(run: Run, parts: Sequence[Part]) -> Plot:
    """Rates, requests in flight, latency, and what was watched beside it."""
    title = "The run over time"
    if not run.samples:
        return pair(title, "Nothing was measured.", nothing(title, FULL), nothing(title, SLIM), full=True)
    slices = timeline(run.samples, max(LEAST_SLICES, min(MOST_SLICES, len(run.samples) // PER_SLICE)))
    strips = [*_load(run, slices), _first(run.samples, slices), *_beside(run.series)]
    failed = sum(each.failed for each in slices)
    desc = (
        "Stages: "
        + ", ".join(f"{each.label} from {each.stage.begin:.1f} s to {each.stage.end:.1f} s" for each in parts)
        + f". At most {max(each.in_flight for each in slices)} requests in flight, at most "
        f"{max(each.tokens for each in slices):.4g} output tokens/s, {failed} failed. Panels: "
        + "; ".join(strip.title for strip in strips) + "."
    )  # fmt: skip
    return pair(title, desc, *(_draw(title, desc, strips, run, parts, width) for width in (FULL, SLIM)), full=True)


def _load(run: Run, slices: Sequence[Slice]) -> list[_Strip]:
    length = slices[1].at - slices[0].at if len(slices) > 1 else 1.0
    failures = [each.ended for each in run.samples if each.ending not in (Ending.OK, Ending.CANCELLED)]

    def steps(name: str, number: int, value: Callable[[Slice], float], dash: str = "") -> _Curve:
        return _Curve(
            name, number,
            [at for each in slices for at in (each.at, each.at + length)],
            [value(each) for each in slices for _ in range(2)], dash,
        )  # fmt: skip

    rates = [steps("answered", 0, lambda each: (each.ended - each.failed) / length)]
    if any(stage.rate for stage in run.stages):
        rates.append(steps("sent", 1, lambda each: each.sent / length, "5 2"))
    flight = [_Curve("in flight", 0, [each.at for each in slices], [float(each.in_flight) for each in slices])]
    return [
        _Strip("requests/s", rates, crosses=_some(failures)),
        _Strip("requests in flight", flight, high=70.0),
        _Strip("output tokens/s", [steps("output tokens/s", 0, lambda each: each.tokens)]),
    ]


def _first(samples: Sequence[Sample], slices: Sequence[Slice]) -> _Strip:
    """Each request's TTFT when its first token came, and percentiles of slices."""
    found = sorted((each.first, value) for each in samples if (value := ttft(each)) is not None)
    values = [value for _, value in found]
    told = [each for each in slices if each.ttft_p50 is not None and each.ttft_p95 is not None]
    length = slices[1].at - slices[0].at if len(slices) > 1 else 0.0
    at = [each.at + length / 2 for each in told]
    curves = [
        _Curve("p50", 0, at, [each.ttft_p50 or 0.0 for each in told], broken=True),
        _Curve("p95", 1, at, [each.ttft_p95 or 0.0 for each in told], "5 2", True),
    ]
    log = wide(values)
    unit, factor = ("", 1.0) if log else unit_of(values)
    title = "TTFT" + (f", {unit}" if unit else "")
    return _Strip(title, curves if told else [], _some(found), (), log, factor, 130.0)


def _beside(series: Sequence[Series]) -> list[_Strip]:
    """Engines' own word: those of one kind in one panel."""
    groups: dict[str, list[Series]] = {}
    for each in series:
        if each.at:
            groups.setdefault(TOGETHER.get(each.name, each.name), []).append(each)
    strips = []
    known = [*TITLES, *groups]
    for name in sorted(groups, key=known.index):
        own = groups[name]
        factor = 100.0 if own[0].unit == "share" else 1.0
        several = len({each.source for each in own}) > 1
        curves = [
            _Curve(
                _series_name(each, alone=name != "load", several=several),
                number, *_thinned(each.at, each.values), ("", "5 2", "2 3")[number % 3],
            )
            for number, each in enumerate(own)
        ]  # fmt: skip
        title = TITLES.get(name) or f"{name.replace('_', ' ')}, {own[0].unit}".rstrip(", ")
        strips.append(_Strip(title, curves, factor=factor))
    return strips


def _series_name(series: Series, *, alone: bool, several: bool) -> str:
    name = series.name.replace("_", " ")
    return series.source if alone else f"{name} {series.source}" if several else name


def _draw(title: str, desc: str, strips: Sequence[_Strip], run: Run, parts: Sequence[Part], width: float) -> str:
    left, right = 56.0, width - 12
    x = _time(run, 8 if width > SLIM else 4)
    names, y = _names(parts, x, left, right)
    drawing: list[str] = []
    for number, strip in enumerate(strips):
        keys = _keys(strip)
        told = strip.title
        indent = 4 + width_of(told) + 18
        below = indent + sum(44 + width_of(key.name) for key in keys) > width - 8
        begin = 4.0 if below else indent
        key, high = legend(keys, begin, y + (20 if below else 4), width - 8 - begin)
        top = y + 24 + (high if below else 0)
        panel = Panel(Box(left, top, right, top + strip.high), x, _upright(strip))
        last = number == len(strips) - 1
        drawing += [
            *_shades(parts, panel),
            frame(panel, plain if last else None, _written(strip), "seconds since the run began" if last else ""),
            text((4, y + 16), told, "label", "start"),
            key,
            *_content(strip, panel, [part.stage.begin for part in parts]),
        ]
        y = panel.box.bottom + 12
    return whole(title, desc, width, y + 32, [*drawing, *names])


def _written(strip: _Strip) -> Write:
    return duration_tick if strip.log else lambda tick: plain(tick * strip.factor)


def _time(run: Run, count: int) -> Scale:
    edges = [edge for stage in run.stages for edge in (stage.begin, stage.end)]
    edges += [at for series in run.series for at in (series.at[:1] + series.at[-1:])]
    edges += [edge for sample in run.samples for edge in (sample.due, sample.ended)]
    return linear(edges, count=count, tight=True)


def _upright(strip: _Strip) -> Scale:
    values = [value for curve in strip.curves for value in curve.y] + [value for _, value in strip.scatter]
    if strip.log:
        return logarithmic([value for value in values if value > 0])
    return linear(values or [0.0, 1.0], count=3, zero=True)


def _keys(strip: _Strip) -> list[Key]:
    keys = [Key(curve.name, curve.number, curve.dash) for curve in strip.curves] if len(strip.curves) > 1 else []
    if len(strip.curves) == 1 and strip.curves[0].name not in strip.title:
        keys = [Key(strip.curves[0].name, strip.curves[0].number, strip.curves[0].dash)]
    if strip.scatter:
        keys.append(Key("each request", 5, look="spot"))
    if strip.crosses:
        keys.append(Key("failed", 1, look="cross"))
    return keys


def _names(parts: Sequence[Part], x: Scale, left: float, right: float) -> tuple[list[str], float]:
    """Names of stages over their bands, in two rows where one is too narrow."""
    found, ends = [], [left - 99.0, left - 99.0]
    rows = 1
    for part in parts:
        begin, end = (left + x.part(edge) * (right - left) for edge in (part.stage.begin, part.stage.end))
        words = cut(part.label, max(end - begin, 100.0))
        half = width_of(words) / 2
        middle = max(left + half, min(right - half, (begin + end) / 2))
        row = next((number for number, taken in enumerate(ends) if middle - half > taken + 4), 1)
        ends[row] = middle + half
        rows = max(rows, row + 1)
        found.append(text((middle, 14 + 15 * row), words, "head"))
    return found, 4.0 + 15 * rows


def _shades(parts: Sequence[Part], panel: Panel) -> list[str]:
    found = []
    for number, part in enumerate(parts):
        begin, end = panel.at(part.stage.begin, panel.y.low)[0], panel.at(part.stage.end, panel.y.low)[0]
        found.append(
            f'<rect class="shade{number % 2}" x="{begin:.1f}" y="{panel.box.top:.1f}" '
            f'width="{max(0.5, end - begin):.1f}" height="{panel.box.height:.1f}"/>'
        )
    return found


def _content(strip: _Strip, panel: Panel, begins: Sequence[float]) -> list[str]:
    points = "".join("M{:.1f} {:.1f}h0".format(*panel.at(*each)) for each in strip.scatter)
    parts = [f'<path class="spot" d="{points}"/>'] if points else []
    for curve in strip.curves:
        for stretch in _stretches(curve, begins):
            parts.append(line([panel.at(*each) for each in stretch], curve.number, curve.dash))
    parts += [
        f'<path class="cross" transform="translate({panel.at(at, panel.y.low)[0]:.1f} {panel.box.top + 6:.1f})" '
        'd="M-3-3l6 6M3-3l-6 6"/>'
        for at in strip.crosses
    ]
    return parts


def _stretches(curve: _Curve, begins: Sequence[float]) -> list[list[tuple[float, float]]]:
    """A curve's points, cut where a stage begins if it is to be broken there."""
    points = list(zip(curve.x, curve.y, strict=True))
    if not curve.broken:
        return [points] if points else []
    edges = [0, *(bisect_left(curve.x, begin) for begin in begins), len(points)]
    return [found for a, b in pairwise(sorted(edges)) if (found := points[a:b])]


def _some(found: Sequence[Moment]) -> Sequence[Moment]:
    return found[:: len(found) // MOST_MARKS + 1]


def _thinned(at: Sequence[float], values: Sequence[float]) -> tuple[Sequence[float], Sequence[float]]:
    """Of each stretch the least and the greatest value."""
    step = len(at) // 200 + 1
    if step == 1:
        return at, values
    kept = {0, len(at) - 1}
    for begin in range(0, len(at), step):
        stretch = range(begin, min(len(at), begin + step))
        kept |= {min(stretch, key=values.__getitem__), max(stretch, key=values.__getitem__)}
    chosen = sorted(kept)
    return [at[number] for number in chosen], [values[number] for number in chosen]
