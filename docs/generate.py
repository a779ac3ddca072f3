"""Fills the generated blocks of the documents and writes generated pages: `PYTHONPATH=. python docs/generate.py`.

A block stands between `<!-- generated: NAME -->` and `<!-- end -->`. tests/test_docs.py fails when one is stale.
"""

import json
import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from benchmarks.bars import RESULTS, read_bars
from benchmarks.bench import dossier
from penstock.bench.contract.reference import fields
from penstock.bench.report.matrix import shown
from penstock.telemetry import buckets
from penstock.telemetry.catalogue import PLATFORM, SHEETS, Kind, Metric

ROOT = Path(__file__).resolve().parents[1]
BENCHMARK = ROOT / "results" / "gateway" / "latest.json"
AGAIN = {name: ROOT / "results" / "bench" / f"raw-again_{name}.json" for name in ("llamacpp", "vllm")}
KINDS = {"again": "twice in turn", "slowed": "and a slowed one in turn", "then": "and its baseline"}
BLOCK = re.compile(r"(<!-- generated: ([a-z-]+) -->\n).*?(<!-- end -->)", re.DOTALL)
THREE_X = ROOT / "results" / "bench" / "raw-three_x.json"
PAGES: Mapping[str, Callable[[Mapping[str, Any]], str]] = {
    "docs/benchmarks/three-x.md": dossier.page,
    f"docs/benchmarks/{dossier.PLOT}": dossier.plot,
}
"""Files that are generated whole, once there is a run that they tell of."""
LOAD_TESTER = ROOT / "results" / "bench" / "latest.json"
DOCUMENTS = (
    "README.md",
    "ARCHITECTURE.md",
    "docs/benchmark-bench.md",
    "docs/critiques.md",
    "docs/load.md",
    "docs/metrics.md",
)

NO_RUN = "No full benchmark run is recorded yet."
COLUMNS = (
    ("unary_us", "CPU µs, unary", ",.1f"),
    ("unary_8k_us", "CPU µs, unary 8 KiB", ",.1f"),
    ("chunk_us", "CPU µs, SSE chunk", ",.2f"),
    ("added_p50_ms", "added p50, ms", ",.2f"),
    ("added_p99_ms", "added p99, ms", ",.2f"),
    ("many_rss_tree_mb", "MB at 1,000 streams", ",.0f"),
    ("start_s", "start, s", ".2f"),
)


def full_run(path: Path = BENCHMARK) -> Mapping[str, Any] | None:
    """The recorded benchmark, None when there is none. A quick run is a check of the harness, not a result."""
    if not path.is_file():
        return None
    document: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return None if document.get("quick") else document


def benchmark(run: Mapping[str, Any] | None) -> str:
    """The table of the README."""
    if run is None:
        return f"{NO_RUN} `make bench` measures; `make docs` then puts its table here."
    machine = run["machine"]
    where = f"{machine['cpu']}, {machine['cores']} cores; every gateway alone on one core"
    head = f"Measured {run['when'][:10]} on {where}."
    rows = [
        "| gateway | " + " | ".join(title for _, title, _ in COLUMNS) + " |",
        "|---|" + "--:|" * len(COLUMNS),
    ]
    for name, figures in run["figures"].items():
        if name == "direct":
            continue
        label = f"{name} {run['versions'].get(name, '')}".strip()
        rows.append(f"| {label} | " + " | ".join(_cell(figures, key, form) for key, _, form in COLUMNS) + " |")
    absent = [f"Not measured: {', '.join(run['absent'])}."] if run["absent"] else []
    held = sum(bar["holds"] for bar in run["bars"])
    verdict = f"{held} of {len(run['bars'])} bars hold" + _missed_names(run)
    return "\n".join([head, "", *rows, "", *absent, f"{verdict}. All figures: [report](results/gateway/report.md)."])


def _cell(figures: Mapping[str, Any], key: str, form: str) -> str:
    return format(figures[key], form) if key in figures else "-"


def _missed_names(run: Mapping[str, Any]) -> str:
    names = [bar["name"] for bar in run["bars"] if not bar["holds"]]
    return f"; missed: {', '.join(names)}" if names else ""


def data_path(run: Mapping[str, Any] | None) -> str:
    """The figures behind the own HTTP path, for ARCHITECTURE.md."""
    if run is None:
        return f"{NO_RUN} Until `make bench` has been run, that this path pays is a claim and not a result."
    cells = [
        f"{name} {figures['unary_us']:,.1f} / {figures['chunk_us']:,.2f}"
        for name, figures in run["figures"].items()
        if figures.get("unary_us") and figures.get("chunk_us")
    ]
    return f"CPU µs per unary request / per relayed SSE chunk, {run['when'][:10]}: {'; '.join(cells)}."


def missed(_: Mapping[str, Any] | None) -> str:
    """The bars of every `results/*/latest.json` that are not reached, for critiques.md."""
    bars = [bar for path in sorted(RESULTS.glob("*/latest.json")) for bar in read_bars(path)]
    return told_missed(bars) or "Every bar on record holds."


def told_missed(bars: Iterable[Mapping[str, Any]]) -> str:
    lines = []
    for bar in bars:
        if not bar["holds"]:
            found = "not measured" if bar["value"] is None else f"{bar['value']:g} {bar['unit']}"
            why = f": {bar['why']}" if bar.get("why") else ""
            sign = "at least" if bar.get("better") == "higher" else "below" if bar.get("strict") else "at most"
            lines.append(f"- `{bar['name']}`: {found}; wanted {sign} {bar['limit']:g} {bar['unit']}{why}")
    return "\n".join(lines)


def metrics(_: Mapping[str, Any] | None) -> str:
    """Every metric with its labels."""
    rows = ["| Metric | Type | Labels | Meaning |", "|---|---|---|---|"]
    for sheet in (*SHEETS, *PLATFORM):
        labels = ", ".join(f"`{label}`" for label in sheet.labels) or "none"
        rows += [f"| `{exported(m)}` | {m.kind} | {labels} | {m.help} |" for m in sheet.metrics]
    return "\n".join(rows)


def exported(metric: Metric) -> str:
    """The name in the exposition; a histogram adds `_bucket`, `_sum` and `_count` to it."""
    return f"{metric.name}_total" if metric.kind is Kind.COUNTER else metric.name


def bounds(_: Mapping[str, Any] | None) -> str:
    """The bucket families."""
    families = (
        ("LATENCY", buckets.LATENCY),
        ("FIRST_TOKEN", buckets.FIRST_TOKEN),
        ("TOKEN", buckets.TOKEN),
        ("PAUSE", buckets.PAUSE),
    )
    lines = ["| Family | Used by | Upper bounds, seconds |", "|---|---|---|"]
    for name, family in families:
        users = ", ".join(f"`{m.name}`" for sheet in SHEETS for m in sheet.metrics if m.bounds == family)
        lines.append(f"| {name} | {users} | {', '.join(f'{bound:g}' for bound in family)} |")
    return "\n".join(lines)


def contract(_: Mapping[str, Any] | None) -> str:
    """Every field of a load-test contract."""
    return fields()


def again(_: Mapping[str, Any] | None) -> str:
    """Baselines run again: what the verdicts were, and how far the metrics moved."""
    runs = {name: json.loads(path.read_text(encoding="utf-8")) for name, path in AGAIN.items() if path.is_file()}
    if not runs:
        return "No such run is recorded yet: `make baseline` makes one."
    rows = ["| Server | Sets | Verdicts | Metric | Change, least | mean | most |", "|---|--:|---|---|--:|--:|--:|"]
    for engine, run in runs.items():
        for kind, found in run["figures"].items():
            counted = Counter(found["verdicts"])
            verdicts = ", ".join(f"{count} {verdict}" for verdict, count in counted.most_common())
            server = f"{engine}, {KINDS[kind]}"
            for number, (metric, change) in enumerate(found["changes"].items()):
                head = f"{server} | {len(found['verdicts'])} | {verdicts}" if not number else " | | "
                cells = " | ".join(f"{change[name]:+.1%}" for name in ("least", "mean", "most"))
                rows.append(f"| {head} | {metric} | {cells} |")
    where = "; ".join(
        f"{name} measured {run['when'][:10]} on {run['machine']['cpu']}, {run['machine']['cores']} cores"
        for name, run in runs.items()
    )
    return "\n".join([f"{where}.", "", *rows])


def rivals(_: Mapping[str, Any] | None, path: Path = LOAD_TESTER) -> str:
    """The load testers side by side, by the last proof that was kept."""
    document: dict[str, Any] = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    found = document.get("figures", {}).get("rivals")
    if found is None:
        return "No run beside rivals is recorded yet: `make prove-bench`."
    run = document["runs"]["rivals"]
    ways = list(dict.fromkeys(each["way"] for each in found["worst"]))
    worst = {(each["tool"], each["way"]): each for each in found["worst"]}
    tools = ["penstock", *found["versions"]]
    lines = [
        f"Measured {run['when'][:10]} on {run['machine']['cpu']}, {run['machine']['cores']} cores.",
        "Columns of ways: the worst error, own / seen.",
        "",
        f"| Tool | {' | '.join(ways)} | TTFT p99 of freeze, s: reported / seen | events/CPU s |",
        "|---|" + "--:|" * (len(ways) + 2),
    ]
    for tool in tools:
        errors = [_pair(worst.get((tool, way)), "own", "seen", ".2f") for way in ways]
        frozen = [each for each in found["rivals"] if (each["tool"], each["way"]) == (tool, "freeze")]
        p99 = next((each for each in frozen if (each["quantity"], each["q"]) == ("ttft", 0.99)), None)
        speed = found["capacity"].get(tool)
        cells = [*errors, _pair(p99, "measured", "true", ".3f"), f"{speed['events_per_cpu_s']:,.0f}" if speed else "-"]
        lines.append(f"| {tool} {found['versions'].get(tool, '')}".rstrip() + f" | {' | '.join(cells)} |")
    return "\n".join([*lines, *(f"\n{what}: {why}." for what, why in found["absent"].items())])


def frameworks(_: Mapping[str, Any] | None, path: Path = LOAD_TESTER) -> str:
    """The decision matrices of engines under one load, by the last proof that was kept."""
    document: dict[str, Any] = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    found = document.get("figures", {}).get("frameworks")
    if found is None:
        return "No such run is recorded yet: `make prove-bench`."
    run = document["runs"]["frameworks"]
    lines = [
        f"Measured {run['when'][:10]} on {run['machine']['cpu']}, {run['machine']['cores']} cores.",
        "",
        "| What counts | Server | Standing | Score | Interval |",
        "|---|---|---|--:|--:|",
    ]
    for wish, rows in found["scores"].items():
        for name, row in rows.items():
            score = f"{row['score']:.2f}" if row["score"] else "-"
            sure = f"{row['low']:.2f} to {row['high']:.2f}" if row["standing"] in ("tied", "behind") else "-"
            lines.append(f"| {wish} | {name} | {row['standing']} | {score} | {sure} |")
    metrics = list(next(iter(next(iter(found["values"].values())).values())))
    lines += ["", f"| Server | Stage | {' | '.join(metrics)} |", "|---|---|" + "--:|" * len(metrics)]
    lines += [
        f"| {name} | {stage} | {' | '.join(shown(metric, row[metric]) for metric in metrics)} |"
        for name, stages in found["values"].items()
        for stage, row in stages.items()
    ]
    return "\n".join(lines)


def _pair(row: Mapping[str, Any] | None, first: str, second: str, form: str) -> str:
    if row is None:
        return "-"
    return " / ".join("-" if row[key] is None else format(row[key], form) for key in (first, second))


BLOCKS: Mapping[str, Callable[[Mapping[str, Any] | None], str]] = {
    "benchmark": benchmark,
    "data-path": data_path,
    "missed": missed,
    "metrics": metrics,
    "bounds": bounds,
    "contract": contract,
    "again": again,
    "rivals": rivals,
    "frameworks": frameworks,
}


def filled(text: str, run: Mapping[str, Any] | None) -> str:
    """`text` with its blocks made anew."""
    return BLOCK.sub(lambda found: f"{found[1]}{BLOCKS[found[2]](run)}\n{found[3]}", text)


def pages(path: Path = THREE_X) -> Mapping[str, str]:
    """Name -> text of every generated page; none before the run that they tell of."""
    if not path.is_file():
        return {}
    document = json.loads(path.read_text(encoding="utf-8"))
    return {name: make(document) for name, make in PAGES.items()}


def main() -> None:
    run = full_run()
    for name in DOCUMENTS:
        path = ROOT / name
        path.write_text(filled(path.read_text(encoding="utf-8"), run), encoding="utf-8")
    for name, text in pages().items():
        path = ROOT / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
