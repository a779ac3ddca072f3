"""A bar chart as SVG, logarithmic, readable on light and dark pages. No library."""

from __future__ import annotations

import math
from collections.abc import Sequence
from html import escape
from typing import NamedTuple

WIDTH, LEFT, ROW, HEAD = 760, 120, 24, 44


class Panel(NamedTuple):
    title: str
    unit: str
    bars: Sequence[tuple[str, float]]


def _panel(panel: Panel, top: int) -> tuple[list[str], int]:
    values = [value for _, value in panel.bars if value > 0]
    low, high = math.log10(min(values)) - 0.3, math.log10(max(values))
    room = WIDTH - LEFT - 110
    out = [f'<text x="12" y="{top + 24}" class="t">{escape(panel.title)} ({escape(panel.unit)}, log scale)</text>']
    y = top + HEAD
    for name, value in panel.bars:
        size = room * (math.log10(value) - low) / max(high - low, 0.1) if value > 0 else 0
        own = ' class="own"' if name == "penstock" else ""
        out.append(f'<text x="{LEFT - 8}" y="{y + 14}" text-anchor="end">{escape(name)}</text>')
        out.append(f'<rect x="{LEFT}" y="{y + 2}" width="{size:.1f}" height="{ROW - 8}" rx="2"{own}/>')
        out.append(f'<text x="{LEFT + size + 6:.1f}" y="{y + 14}">{value:,.4g}</text>')
        y += ROW
    return out, y


def svg(panels: Sequence[Panel]) -> str:
    """One panel below the other; a panel without a positive value is left out."""
    body: list[str] = []
    y = 0
    for panel in panels:
        if any(value > 0 for _, value in panel.bars):
            drawn, y = _panel(panel, y)
            body += drawn
    style = (
        "text{font:13px system-ui,sans-serif;fill:#222}.t{font-weight:600}rect{fill:#8a97a8}rect.own{fill:#0b7285}"
        "@media(prefers-color-scheme:dark){text{fill:#ddd}rect{fill:#5c6773}rect.own{fill:#22b8cf}}"
    )
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {y + 16}" role="img">'
        f"<title>What each gateway costs</title><style>{style}</style>{''.join(body)}</svg>\n"
    )
