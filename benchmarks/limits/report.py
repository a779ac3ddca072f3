"""The results of the proofs: raw-NAME.json for each, and latest.json with the bars of all of them."""

from __future__ import annotations

import datetime
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from benchmarks.gateway.gateways import ROOT
from benchmarks.gateway.session import machine
from benchmarks.limits.proof import Proof

RESULTS = ROOT / "results" / "limits"
DEPTH = 3
"""Levels of a raw file that have lines of their own."""


def began() -> dict[str, Any]:
    """When and where a proof is run."""
    return {"when": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"), "machine": machine()}


def document(name: str, run: dict[str, Any], proof: Proof) -> dict[str, Any]:
    """`run`: as `began` said."""
    return {"name": name, **run, "bars": [bar.as_json() for bar in proof.bars], "figures": proof.figures}


def save(doc: dict[str, Any], raw: dict[str, Any], folder: Path = RESULTS) -> None:
    """Keeps a proof that was run."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"raw-{doc['name']}.json").write_text(lines({**doc, "raw": raw}) + "\n")


def latest(names: Iterable[str], folder: Path = RESULTS) -> dict[str, Any]:
    """Writes latest.json from every proof that was ever run, in the order of `names`, and returns it."""
    runs, bars, figures = {}, [], {}
    for name in names:
        path = folder / f"raw-{name}.json"
        if not path.exists():
            continue
        doc = json.loads(path.read_text())
        runs[name] = {"when": doc["when"], "machine": doc["machine"]}
        bars += doc["bars"]
        figures[name] = doc["figures"]
    last = max(runs.values(), key=lambda run: str(run["when"]), default={"when": "", "machine": {}})
    found = {"name": folder.name, **last, "runs": runs, "bars": bars, "figures": figures}
    (folder / "latest.json").write_text(json.dumps(found, indent=1) + "\n")
    return found


def lines(value: Any, depth: int = DEPTH) -> str:
    """JSON with a line per entry of the outer levels and of every long list, none for what is small."""
    if depth and isinstance(value, dict) and value:
        inside = ",\n".join(f"{json.dumps(key)}: {lines(each, depth - 1)}" for key, each in value.items())
        return f"{{\n{inside}\n}}"
    if isinstance(value, list) and value and isinstance(value[0], list | dict):
        return "[\n" + ",\n".join(json.dumps(each) for each in value) + "\n]"
    return json.dumps(value)
