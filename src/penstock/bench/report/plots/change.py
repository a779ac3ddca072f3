"""What changed between two sets of runs: a dot and an interval per metric, the margin behind."""

from collections.abc import Sequence
from dataclasses import dataclass

from penstock.bench.contract.compare import Compared, Comparison, Verdict
from penstock.bench.report.document import Plot
from penstock.bench.report.plots.frames import NARROW, WIDE, pair
from penstock.bench.report.scale import linear
from penstock.bench.report.svg import Box, Panel, cut, mark, nothing, rule, text, whisker, whole
from penstock.bench.report.units import MINUS, change, plain

ROW = 26.0
COLOURS = {"worse": 1, "better": 2, "same": 0, "inconclusive": 5}
SHAPES = {"worse": 2, "better": 4, "same": 0, "inconclusive": 3}
"""A triangle that stands, one that hangs, a circle, a diamond."""


@dataclass(frozen=True, slots=True)
class Dot:
    """One row: a relative difference with its interval, and the word for it."""

    group: str
    name: str
    at: float
    low: float
    high: float
    word: str
    verdict: Verdict
    """Whose colour and shape it has."""


def changes(comparison: Comparison, names: dict[str, str], margin: float) -> Plot:
    """`names`: stage -> its short name. `margin`: differences below it are the same."""
    return dots(
        "Change from before to after",
        f"Relative change of each metric with its interval; within {margin:.0%} is the same.",
        [_dot(row, names) for row in comparison.rows if row.before],
        margin,
    )


def _dot(row: Compared, names: dict[str, str]) -> Dot:
    group = names.get(row.stage, row.stage)
    return Dot(group, row.metric, row.change, row.low, row.high, str(row.verdict), row.verdict)


def dots(title: str, about: str, rows: Sequence[Dot], margin: float = 0.0) -> Plot:
    """A row per dot, by group. A `margin` is shown behind them."""
    desc = f"{about} " + " ".join(f"{row.group} {row.name}: {_numbers(row)}, {row.word}." for row in rows)
    if not rows:
        return pair(title, desc, nothing(title, 2 * WIDE), nothing(title, NARROW), full=True)
    return pair(title, desc, _wide(title, desc, rows, margin), _narrow(title, desc, rows, margin), full=True)


def _wide(title: str, desc: str, rows: Sequence[Dot], margin: float) -> str:
    """Name to the left of each row, verdict to the right."""
    width, left, right = 920.0, 190.0, 300.0
    groups = _groups(rows)
    bottom = 24 + ROW * (len(rows) + len(groups))
    panel = _panel(rows, margin, Box(left, 24, width - right, bottom))
    parts, y = [_back(panel, margin)], 24.0
    for group in groups:
        parts.append(text((8, y + 18), cut(group, left + 200), "head", "start"))
        y += ROW
        for row in rows:
            if row.group == group:
                parts.append(text((left - 10, y + 17), cut(row.name, left - 30), "name", "end"))
                parts.append(_row(panel, row, y + 13))
                parts.append(text((width - right + 12, y + 17), _numbers(row), "tick", "start"))
                parts.append(text((width - 8, y + 17), row.word, "name", "end"))
                y += ROW
    return whole(title, desc, width, bottom + 44, parts)


def _narrow(title: str, desc: str, rows: Sequence[Dot], margin: float) -> str:
    """Name, verdict and numbers above each row."""
    width, high = NARROW, 2.1 * ROW
    groups = _groups(rows)
    bottom = 24 + high * len(rows) + ROW * len(groups)
    panel = _panel(rows, margin, Box(12, 24, width - 12, bottom))
    parts, y = [_back(panel, margin)], 24.0
    for group in groups:
        parts.append(text((8, y + 18), cut(group, width - 16), "head", "start"))
        y += ROW
        for row in rows:
            if row.group == group:
                parts.append(text((12, y + 16), f"{row.name}: {row.word}", "name", "start"))
                parts.append(text((width - 12, y + 16), _numbers(row), "tick", "end"))
                parts.append(_row(panel, row, y + 36))
                y += high
    return whole(title, desc, width, bottom + 44, parts)


def _panel(rows: Sequence[Dot], margin: float, box: Box) -> Panel:
    values = [value * 100 for row in rows for value in (row.at, row.low, row.high)]
    # The logarithm is compared, so that the margin downwards is a little smaller than upwards.
    x = linear([*values, 0.0, margin * 100, _below(margin) * 100], count=6 if box.width > 400 else 4, tight=True)
    return Panel(box, x, linear((0.0, 1.0)))


def _below(margin: float) -> float:
    return 1 / (1 + margin) - 1


def _back(panel: Panel, margin: float) -> str:
    box = panel.box
    parts: list[str] = []
    if margin:
        left, right = (panel.at(edge * 100, 0)[0] for edge in (_below(margin), margin))
        parts += [
            f'<rect class="margin" x="{left:.1f}" y="{box.top}" width="{right - left:.1f}" height="{box.height:.1f}"/>',
            text(((left + right) / 2, box.top - 8), f"within ±{margin:.0%}: the same", "tick"),
        ]
    for tick in panel.x.ticks:
        at = panel.at(tick, 0)[0]
        parts += [rule(at, box.top, box.bottom), text((at, box.bottom + 16), _signed(tick))]
    parts.append(rule(panel.at(0, 0)[0], box.top, box.bottom, "axis"))
    parts.append(text(((box.left + box.right) / 2, box.bottom + 34), "change, %", "label"))
    return "".join(parts)


def _row(panel: Panel, row: Dot, y: float) -> str:
    low, at, high = ((panel.at(value * 100, 0)[0], y) for value in (row.low, row.at, row.high))
    colour = COLOURS.get(row.verdict, 5)
    tip = f"{row.group} {row.name}: {_numbers(row)}, {row.word}"
    return whisker(low, high, colour) + mark(at, colour, tip, SHAPES.get(row.verdict, 3))


def _groups(rows: Sequence[Dot]) -> list[str]:
    return list(dict.fromkeys(row.group for row in rows))


def _numbers(row: Dot) -> str:
    return f"{change(row.at)} ({change(row.low)} to {change(row.high)})"


def _signed(tick: float) -> str:
    return f"+{plain(tick)}" if tick > 0 else plain(tick).replace("-", MINUS)
