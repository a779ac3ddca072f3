"""Medians with their intervals as SVG, one panel per workload, readable on light and dark pages. No library."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any, NamedTuple

WIDTH, LEFT, ROW, HEAD = 760, 180, 24, 40
STYLE = (
    "text{font:13px system-ui,sans-serif;fill:#222}.t{font-weight:600}rect{fill:#8a97a8}rect.own{fill:#0b7285}"
    "line{stroke:#222;stroke-width:1.5}"
    "@media(prefers-color-scheme:dark){text{fill:#ddd}rect{fill:#5c6773}rect.own{fill:#22b8cf}line{stroke:#ddd}}"
)


class Line(NamedTuple):
    name: str
    value: float
    low: float
    high: float


def panel(title: str, lines: Sequence[Line], top: int) -> tuple[list[str], int]:
    """The elements, and where the next panel begins."""
    scale = (WIDTH - LEFT - 90) / max(line.high for line in lines)
    out = [f'<text x="12" y="{top + 24}" class="t">{escape(title)}</text>']
    y = top + HEAD
    for line in lines:
        own = ' class="own"' if line.name == "penstock" else ""
        low, high = (LEFT + scale * end for end in (line.low, line.high))
        out += [
            f'<text x="{LEFT - 8}" y="{y + 14}" text-anchor="end">{escape(line.name)}</text>',
            f'<rect x="{LEFT}" y="{y + 2}" width="{scale * line.value:.1f}" height="{ROW - 8}" rx="2"{own}/>',
            f'<line x1="{low:.1f}" y1="{y + 10}" x2="{high:.1f}" y2="{y + 10}"/>',
            f'<text x="{high + 6:.1f}" y="{y + 14}">{line.value:.2f}</text>',
        ]
        y += ROW
    return out, y


def svg(figures: Mapping[str, Mapping[str, Mapping[str, Mapping[str, Any]]]]) -> str:
    """Fleet -> workload -> gateway -> figures, as in latest.json."""
    body: list[str] = []
    y = 0
    for fleet, workloads in figures.items():
        for workload, gateways in workloads.items():
            lines = [
                Line(name, own["ttft_p50_s"], *own["ttft_p50_s_95"])
                for name, own in gateways.items()
                if own.get("ttft_p50_s")
            ]
            if lines:
                drawn, y = panel(f"{workload} on {fleet}: median TTFT, s", lines, y)
                body += drawn
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {y + 16}" role="img">'
        f"<title>Time to the first token by router</title><style>{STYLE}</style>{''.join(body)}</svg>\n"
    )
