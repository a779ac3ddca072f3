"""The results of a run: latest.json, raw files, report.md, plot.svg and a terminal table."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from benchmarks.bars import table as bar_table
from benchmarks.gateway.gateways import ROOT
from benchmarks.routing.figures import Figures, bars
from benchmarks.routing.fronts import known
from benchmarks.routing.plot import svg
from benchmarks.routing.proofs import PROOFS

RESULTS = ROOT / "results" / "routing"
PARTS = ("cells", "requests")
Own = Mapping[str, Any]


def _with_interval(name: str) -> Callable[[Own], str]:
    def cell(own: Own) -> str:
        low, high = own[f"{name}_95"]
        return f"{own[name]:.2f} [{low:.2f}, {high:.2f}]"

    return cell


# heading, cell of one gateway's figures
COLUMNS: tuple[tuple[str, Callable[[Own], str]], ...] = (
    ("TTFT p50 s", _with_interval("ttft_p50_s")),
    ("TTFT p95 s", _with_interval("ttft_p95_s")),
    ("TTFT p99 s", lambda own: f"{own['ttft_p99_s']:.2f}"),
    ("p50 / default's", lambda own: _with_interval("ttft_p50_over_default")(own) if _compared(own) else "1"),
    ("req/s", lambda own: f"{own['requests_per_s']:.2f}"),
    ("out tok/s", lambda own: f"{own['out_tokens_per_s']:.1f}"),
    ("hit rate", lambda own: f"{own['hit_rate']:.0%}"),
    ("max share / fair", lambda own: "-" if _share(own) is None else f"{_share(own):.2f}"),
    ("max load / fair", lambda own: "-" if _load(own) is None else f"{_load(own):.2f}"),
    ("requests", lambda own: f"{own['requests']}"),
    ("failed", lambda own: f"{own['failed']}"),
)

NOTES = """\
All gateways stand in front of the same running engines, one after the other; every round begins with another one.
All gateways of a round get the same requests at the same times; a salt that opens every system prompt makes them
new to every cache, so the first requests of every cell meet cold caches, and count. TTFT is from the due time (open
loop) or from sending (closed loop) to the first content. Answers have 8 tokens. Open loops offer 70 % of what the
engines did in a closed loop with requests in turn and no gateway. Brackets are bootstrap intervals of 95 %: rounds
drawn anew, the same ones for every gateway, and requests within each; gateways count as independent within a round,
so ratios get wider intervals than paired requests would give. With this many requests p99 is about the slowest. Hit
rate: prompt tokens that engines took from their prefix cache, by their own `usage`. Share: requests per engine in
steady state; on hot_spot the first quarter is left out. Load: requests in flight per engine, mean over the same
time, in the worst round; an engine whose answers come from its cache serves more requests with the same load.
"""


def _compared(own: Own) -> bool:
    return "ttft_p50_over_default" in own


def _share(own: Own) -> float | None:
    return own.get("max_share_over_fair")


def _load(own: Own) -> float | None:
    return own.get("max_load_over_fair")


def save_raw(raw: Mapping[str, Any], folder: Path = RESULTS) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for part in PARTS:
        rows = ",\n".join(json.dumps(row, separators=(",", ":")) for row in raw[part])
        (folder / f"raw-{part}.json").write_text(f"[\n{rows}\n]\n")
    rest = {key: value for key, value in raw.items() if key not in PARTS}
    (folder / "raw-run.json").write_text(json.dumps(rest, indent=1) + "\n")


def load_raw(folder: Path = RESULTS) -> dict[str, Any]:
    """Raises FileNotFoundError when nothing was run yet."""
    raw: dict[str, Any] = json.loads((folder / "raw-run.json").read_text())
    return raw | {part: json.loads((folder / f"raw-{part}.json").read_text()) for part in PARTS}


def proofs(folder: Path) -> dict[str, Any]:
    """Those that were ever run."""
    paths = {name: folder / f"raw-{name}.json" for name in PROOFS}
    return {name: json.loads(path.read_text()) for name, path in paths.items() if path.exists()}


def document(raw: Mapping[str, Any], proved: Mapping[str, Any]) -> dict[str, Any]:
    figures = Figures(raw)
    kept = ("when", "seconds", "machine", "versions", "fleets", "rates", "absent", "quick")
    return {
        "name": "routing",
        **{key: raw[key] for key in kept},
        "proofs": {name: {key: doc[key] for key in ("when", "machine", "figures")} for name, doc in proved.items()},
        "bars": [*(bar.as_json() for bar in bars(figures)), *(bar for doc in proved.values() for bar in doc["bars"])],
        "figures": figures.table(),
    }


def _cells(own: Own) -> list[str]:
    if not own["requests"]:
        return ["-"] * (len(COLUMNS) - 2) + ["0", f"{own['failed']}"]
    return [cell(own) for _, cell in COLUMNS]


def markdown(doc: Mapping[str, Any]) -> str:
    machine = doc["machine"]
    lines = [
        "# What each router does to the time to the first token",
        "",
        f"{doc['when']}, {doc['seconds'] / 60:.0f} min; {machine['cpu']}, {machine['cores']} cores, Linux "
        f"{machine['kernel']}, Python {machine['python']}." + (" A quick run: small doses." if doc["quick"] else ""),
        "",
        *(f"- {name} {doc['versions'][name]}: {front.what}" for name, front in known().items() if _ran(doc, name)),
        *(f"- absent, {name}: {why}" for name, why in doc["absent"].items()),
        "",
    ]
    for fleet, workloads in doc["figures"].items():
        for workload, gateways in workloads.items():
            rate = doc["rates"].get(fleet, {}).get(workload)
            offered = f", open loop at {rate:g} requests/s" if rate else ", closed loop"
            lines += [
                f"## {workload} on {fleet}",
                "",
                f"{doc['fleets'][fleet]}{offered}.",
                "",
                "| gateway | " + " | ".join(heading for heading, _ in COLUMNS) + " |",
                "|---|" + "--:|" * len(COLUMNS),
                *(f"| {name} | " + " | ".join(_cells(own)) + " |" for name, own in gateways.items()),
                "",
            ]
    lines += [NOTES, "![plot](plot.svg)", "", "| bar | value | limit | unit | | |", "|---|--:|--:|---|---|---|"]
    for bar in doc["bars"]:
        value = "-" if bar["value"] is None else f"{bar['value']:g}"
        verdict = "holds" if bar["holds"] else "**missed**"
        lines.append(
            f"| {bar['name']} | {value} | {bar['limit']:g} | {bar['unit']} | {verdict} | {bar.get('why', '')} |"
        )
    return "\n".join(lines) + "\n"


def _ran(doc: Mapping[str, Any], name: str) -> bool:
    return name in doc["versions"]


def write(raw: Mapping[str, Any], folder: Path = RESULTS) -> dict[str, Any]:
    """Renders everything that follows from the raw data."""
    doc = document(raw, proofs(folder))
    (folder / "latest.json").write_text(json.dumps(doc, indent=1) + "\n")
    (folder / "report.md").write_text(markdown(doc))
    (folder / "plot.svg").write_text(svg(doc["figures"]))
    return doc


def show(doc: Mapping[str, Any], console: Console) -> None:
    for fleet, workloads in doc["figures"].items():
        for workload, gateways in workloads.items():
            shown = Table("", *(heading for heading, _ in COLUMNS), title=f"{workload} on {fleet}", box=None)
            for name, own in gateways.items():
                shown.add_row(name, *_cells(own))
            console.print(shown)
    for name, why in doc["absent"].items():
        console.print(f"{name}: {why[-300:]}", markup=False)
    console.print(bar_table([("routing", bar) for bar in doc["bars"]]))
