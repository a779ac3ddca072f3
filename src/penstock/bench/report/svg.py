"""SVG in small pieces: text, lines, marks, frames, legends. Colours are classes; style.py says which.

Lengths are in the user units of the drawing, one of which is about one pixel where it is shown at its own width.
"""

from collections.abc import Callable, Sequence
from html import escape

import msgspec

from penstock.bench.report.scale import Scale

FONT = 12.0
LETTER = 0.56 * FONT
"""About as wide as a letter is on average."""
COLOURS = 6
DASHES = ("", "7 3", "2 3", "9 3 2 3")
MARKS = (
    "M-4 0a4 4 0 1 0 8 0a4 4 0 1 0-8 0z",  # circle
    "M-3.5-3.5h7v7h-7z",  # square
    "M0-4.8L4.5 3.4h-9z",  # triangle
    "M0-5L5 0 0 5-5 0z",  # diamond
    "M0 4.8L4.5-3.4h-9z",  # triangle that hangs
    "M-1.5-4.5h3v3h3v3h-3v3h-3v-3h-3v-3h3z",  # plus
)
SIGNS = {"spot": "M0 0h0", "cross": "M-3-3l6 6M3-3l-6 6"}
Point = tuple[float, float]
Write = Callable[[float], str]


class Box(msgspec.Struct, frozen=True):
    left: float
    top: float
    right: float
    bottom: float

    @property
    def width(self) -> float:
        return self.right - self.left

    @property
    def height(self) -> float:
        return self.bottom - self.top


class Panel(msgspec.Struct, frozen=True):
    """An area with two scales."""

    box: Box
    x: Scale
    y: Scale

    def at(self, x: float, y: float) -> Point:
        box = self.box
        return box.left + self.x.part(x) * box.width, box.bottom - self.y.part(y) * box.height


def whole(title: str, desc: str, width: float, height: float, parts: Sequence[str]) -> str:
    """A drawing with a name and a description for those who do not see it."""
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:g} {height:g}" role="img" '
        f'aria-label="{escape(title)}"><title>{escape(title)}</title><desc>{escape(desc)}</desc>{"".join(parts)}</svg>'
    )


def text(at: Point, words: str, look: str = "tick", anchor: str = "middle", more: str = "") -> str:
    turned = f' text-anchor="{anchor}"' if anchor != "start" else ""
    return f'<text class="{look}" x="{at[0]:.1f}" y="{at[1]:.1f}"{turned}{more}>{escape(words)}</text>'


def width_of(words: str) -> float:
    return len(words) * LETTER


def cut(words: str, width: float) -> str:
    """As many letters as fit; at least two."""
    most = max(2, int(width / LETTER))
    return words if len(words) <= most else words[: most - 1] + "…"


def path(points: Sequence[Point]) -> str:
    return " ".join(f"{a:.1f},{b:.1f}" for a, b in points)


def line(points: Sequence[Point], number: int, dash: str = "") -> str:
    dashed = f' stroke-dasharray="{dash}"' if dash else ""
    return f'<polyline class="line c{number % COLOURS}"{dashed} points="{path(points)}"/>'


def band(low: Sequence[Point], high: Sequence[Point], number: int) -> str:
    return f'<polygon class="band c{number % COLOURS}" points="{path([*low, *reversed(high)])}"/>'


def mark(at: Point, number: int, tip: str = "", shape: int | None = None) -> str:
    form = MARKS[(number if shape is None else shape) % len(MARKS)]
    told = f"<title>{escape(tip)}</title>" if tip else ""
    return (
        f'<path class="dot c{number % COLOURS}" transform="translate({at[0]:.1f} {at[1]:.1f})" d="{form}"'
        + (f">{told}</path>" if told else "/>")
    )  # fmt: skip


def whisker(low: Point, high: Point, number: int) -> str:
    """An interval: a line with two ends, upright or lying."""
    a, b = low, high
    upright = abs(a[0] - b[0]) < abs(a[1] - b[1])
    ends = "".join(f"M{x - 3:.1f} {y:.1f}h6" if upright else f"M{x:.1f} {y - 3:.1f}v6" for x, y in (a, b))
    return f'<path class="whisker c{number % COLOURS}" d="M{a[0]:.1f} {a[1]:.1f}L{b[0]:.1f} {b[1]:.1f}{ends}"/>'


def rule(x: float, top: float, bottom: float, look: str = "grid") -> str:
    return f'<path class="{look}" d="M{x:.1f} {top:.1f}V{bottom:.1f}"/>'


def frame(panel: Panel, write_x: Write | None, write_y: Write, label_x: str = "", label_y: str = "") -> str:
    """Grid, ticks and labels. `write_x` None: ticks without numbers, for a panel above another. `label_y` stands over
    the axis, level, so that it takes no width."""
    box, parts = panel.box, []
    taken = -1e9
    for tick in panel.x.ticks:
        at = panel.at(tick, panel.y.low)[0]
        parts.append(rule(at, box.top, box.bottom))
        if write_x is not None:
            words = write_x(tick)
            half = width_of(words) / 2
            if at - half > taken + 6:
                parts.append(text((at, box.bottom + 16), words))
                taken = at + half
    for tick in panel.y.ticks:
        at = panel.at(panel.x.low, tick)[1]
        parts.append(f'<path class="grid" d="M{box.left:.1f} {at:.1f}H{box.right:.1f}"/>')
        parts.append(text((box.left - 6, at + 4), write_y(tick), anchor="end"))
    parts.append(f'<path class="axis" d="M{box.left:.1f} {box.top:.1f}V{box.bottom:.1f}H{box.right:.1f}"/>')
    if label_x:
        parts.append(text(((box.left + box.right) / 2, box.bottom + 34), label_x, "label"))
    if label_y:
        parts.append(text((4, box.top - 9), label_y, "label", "start"))
    return "".join(parts)


class Key(msgspec.Struct, frozen=True):
    """An entry of a legend."""

    name: str
    number: int
    dash: str | None = None
    """None: no line, a mark only."""
    shape: int | None = None
    """None: no mark."""
    look: str = ""
    """`spot` or `cross`: a sign of its own instead."""


def legend(keys: Sequence[Key], left: float, top: float, width: float) -> tuple[str, float]:
    """(drawing, height): entries in rows that are `width` wide."""
    parts, x, y = [], left, top
    for key in keys:
        shown = cut(key.name, width - 34)
        need = 30 + width_of(shown) + 14
        if x > left and x + need - 14 > left + width:
            x, y = left, y + 18
        if key.dash is not None:
            parts.append(line([(x, y + 8), (x + 24, y + 8)], key.number, key.dash))
        if key.shape is not None:
            parts.append(mark((x + 12, y + 8), key.number, shape=key.shape))
        if key.look:
            parts.append(
                f'<path class="{key.look}" d="{SIGNS[key.look]}" transform="translate({x + 18:.1f} {y + 8:.1f})"/>'
            )
        parts.append(text((x + 30, y + 12), shown, "legend", "start"))
        x += need
    return "".join(parts), (y + 18 - top) if keys else 0.0


def nothing(title: str, width: float) -> str:
    """In place of a plot without data."""
    return whole(title, "nothing was measured", width, 60, [text((width / 2, 34), "nothing was measured", "label")])
