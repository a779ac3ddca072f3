"""The results of a run: latest.json, raw files, report.md, plot.svg and a terminal table."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from benchmarks.bars import table as bar_table
from benchmarks.gateway.figures import bars, figures
from benchmarks.gateway.gateways import ROOT
from benchmarks.gateway.plot import Panel, svg

RESULTS = ROOT / "results" / "gateway"
PARTS = ("rounds", "streams")

# figure, heading, format
COLUMNS = (
    ("unary_us", "CPU us / unary", ",.1f"),
    ("unary_8k_us", "CPU us / unary 8 KiB", ",.1f"),
    ("chunk_us", "CPU us / SSE chunk", ",.2f"),
    ("many_paced_chunk_us", "same, 1,000 streams", ",.2f"),
    ("unary_vs_nginx", "unary / nginx", ".2f"),
    ("chunk_vs_nginx", "chunk / nginx", ".2f"),
    ("unary_rps", "unary req/s", ",.0f"),
    ("unary_core_share", "core share then", ".2f"),
    ("unary_others_share", "others on that core", ".2f"),
    ("added_p50_ms", "added p50 ms", ".3f"),
    ("added_p99_ms", "added p99 ms", ".3f"),
    ("itl_p99_added_ms", "ITL p99 added ms", ".2f"),
    ("many_dropped", "dropped", ".0f"),
    ("rss_idle_mb", "RSS idle MB", ".0f"),
    ("many_rss_tree_mb", "RSS 1,000 streams MB", ".0f"),
    ("start_s", "start s", ".2f"),
)

NOTES = """CPU is user plus system time of the whole process tree, by the processes' CPU clocks. Ratios are medians of
same-round ratios. `others on that core` is the share of the gateway's core that other programs took meanwhile: above
about 0.05 the latencies and the throughput are not worth reading. Mock upstream and load share one core, the gateway
has the other. Where `core share then` is below
about 0.95, the load generator was the limit, not the gateway: `capacity_rps` in latest.json is 1e6 / (CPU us / unary).
CPU per chunk: 64 streams of 512 events at 300/s each, less the cost of as many streams of 4 events; LiteLLM gets
8 streams of 128 at 100/s, 20 instead of 1,000 requests/s at the fixed rate (against direct at 20), and no 1,000-stream
run. Latency counts from the due time. ITL added is p99 at the client through the gateway less p99 without one, read
from 100 of the 1,000 streams (all are counted). Penstock runs with key check, metrics, access log and records; nginx
with a buffered JSON access log; Envoy as a bare router; the others with their defaults.
"""


def save_raw(raw: Mapping[str, Any], folder: Path = RESULTS) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for part in PARTS:
        rows = ",\n".join(json.dumps(row) for row in raw[part])
        (folder / f"raw-{part}.json").write_text(f"[\n{rows}\n]\n")
    rest = {key: value for key, value in raw.items() if key not in PARTS}
    (folder / "raw-run.json").write_text(json.dumps(rest, indent=1) + "\n")


def load_raw(folder: Path = RESULTS) -> dict[str, Any]:
    """Raises FileNotFoundError when nothing was run yet."""
    raw: dict[str, Any] = json.loads((folder / "raw-run.json").read_text())
    return raw | {part: json.loads((folder / f"raw-{part}.json").read_text()) for part in PARTS}


def document(raw: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "name": "gateway",
        "when": raw["when"],
        "machine": raw["machine"],
        "versions": raw["versions"],
        "absent": raw["absent"],
        "quick": raw["quick"],
        "bars": [bar.as_json() for bar in bars(raw)],
        "figures": figures(raw),
    }


def _cells(own: Mapping[str, float]) -> list[str]:
    return [format(own[key], shape) if key in own else "-" for key, _, shape in COLUMNS]


def markdown(doc: Mapping[str, Any]) -> str:
    machine = doc["machine"]
    lines = [
        "# What each gateway costs",
        "",
        f"{doc['when']}; {machine['cpu']}, {machine['cores']} cores, Linux {machine['kernel']}, Python "
        f"{machine['python']}." + (" A quick run: fewer rounds, shorter windows." if doc["quick"] else ""),
        "",
        "| gateway | " + " | ".join(heading for _, heading, _ in COLUMNS) + " |",
        "|---|" + "--:|" * len(COLUMNS),
    ]
    for name, own in doc["figures"].items():
        version = doc["versions"].get(name, "")
        lines.append(f"| {name} {version} | " + " | ".join(_cells(own)) + " |")
    lines += [
        "",
        *(f"- {name}: {why}" for name, why in doc["absent"].items()),
        "",
        NOTES,
        "![plot](plot.svg)",
        "",
    ]
    lines += ["| bar | value | limit | unit | |", "|---|--:|--:|---|---|"]
    for bar in doc["bars"]:
        value = "-" if bar["value"] is None else f"{bar['value']:g}"
        verdict = "holds" if bar["holds"] else f"**missed** {bar.get('why', '')}"
        lines.append(f"| {bar['name']} | {value} | {bar['limit']:g} | {bar['unit']} | {verdict} |")
    return "\n".join(lines) + "\n"


def plot(doc: Mapping[str, Any]) -> str:
    def panel(title: str, unit: str, figure: str) -> Panel:
        rows = [(name, own[figure]) for name, own in doc["figures"].items() if own.get(figure, 0) > 0]
        return Panel(title, unit, sorted(rows, key=lambda row: row[1]))

    return svg(
        [
            panel("CPU per unary request", "us", "unary_us"),
            panel("CPU per relayed SSE chunk", "us", "chunk_us"),
            panel("Memory with 1,000 open streams", "MB", "many_rss_tree_mb"),
        ]
    )


def write(raw: Mapping[str, Any], folder: Path = RESULTS) -> dict[str, Any]:
    """Renders everything that follows from the raw data."""
    doc = document(raw)
    (folder / "latest.json").write_text(json.dumps(doc, indent=1) + "\n")
    (folder / "report.md").write_text(markdown(doc))
    (folder / "plot.svg").write_text(plot(doc))
    return doc


def show(doc: Mapping[str, Any], console: Console) -> None:
    names = list(doc["figures"])
    turned = Table("", *names, title="What each gateway costs", box=None, pad_edge=False)
    cells = [_cells(doc["figures"][name]) for name in names]
    for at, (_, heading, _) in enumerate(COLUMNS):
        turned.add_row(heading, *(column[at] for column in cells))
    console.print(turned)
    for name, why in doc["absent"].items():
        console.print(f"{name}: {why}")
    console.print(bar_table([("gateway", bar) for bar in doc["bars"]]))
