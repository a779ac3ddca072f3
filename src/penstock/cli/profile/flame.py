"""Stacks -> a flame graph: one SVG without scripts, whose boxes tell their share when pointed at."""

from collections.abc import Sequence
from html import escape
from zlib import crc32

import msgspec

from penstock.cli.profile.stacks import Stack, samples

WIDTH, ROW, GLYPH = 1200, 17, 6.6
"""Pixels: of the picture, of a frame's height, of a letter's width."""
DEEPEST = 300
"""Frames of a stack that are drawn."""
LEAST = 0.4
"""Pixels; narrower boxes are left out."""
STYLE = (
    "text{font:11px ui-monospace,monospace;fill:#222;pointer-events:none}rect{stroke:#fff;stroke-width:.5}"
    "rect:hover{stroke:#222;stroke-width:1}"
)


class Box(msgspec.Struct):
    """A frame where it stands: `count` samples had it at this depth under the same callers."""

    frame: str
    count: int
    inner: "dict[str, Box]"


def flame(stacks: Sequence[Stack], title: str) -> str:
    """Widths are shares of the samples, not moments: the same callers stand together."""
    root = tree(stacks)
    height = ROW * (depth(root) + 2)
    boxes: list[str] = []
    _draw(root, 0.0, 0, height, WIDTH / max(1, root.count), boxes, root.count)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" width="{WIDTH}" height="{height}">'
        f'<style>{STYLE}</style><text x="4" y="12">{escape(title)}</text>{"".join(boxes)}</svg>\n'
    )


def tree(stacks: Sequence[Stack]) -> Box:
    """Callers that call alike as one; frames deeper than DEEPEST are left out."""
    root = Box("all", samples(stacks), {})
    for frames, count in stacks:
        box = root
        for frame in frames[:DEEPEST]:
            box = box.inner.setdefault(frame, Box(frame, 0, {}))
            box.count += count
    return root


def depth(box: Box) -> int:
    """Rows that a box and what is above it take."""
    return 1 + max(map(depth, box.inner.values()), default=0)


def _draw(box: Box, left: float, row: int, height: int, unit: float, out: list[str], whole: int) -> None:
    width = box.count * unit
    if width < LEAST:
        return
    top = height - ROW * (row + 1)
    hue = 10 + crc32(box.frame.encode()) % 45
    told = escape(f"{box.frame}: {box.count} samples, {box.count / max(1, whole):.1%}")
    out.append(
        f'<g><title>{told}</title><rect x="{left:.2f}" y="{top}" width="{width:.2f}" height="{ROW - 1}" '
        f'fill="hsl({hue},85%,68%)"/>'
    )
    letters = int((width - 6) / GLYPH)
    if letters >= 3:
        text = box.frame if len(box.frame) <= letters else f"{box.frame[: letters - 1]}…"
        out.append(f'<text x="{left + 3:.2f}" y="{top + 12}">{escape(text)}</text>')
    out.append("</g>")
    for inner in sorted(box.inner.values(), key=lambda each: each.frame):
        _draw(inner, left, row + 1, height, unit, out, whole)
        left += inner.count * unit
