"""`penstock bench run`, asked and paid for like a rival, for the comparison of capacity."""

from __future__ import annotations

import gzip
import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from benchmarks.bench.rivals.tool import Export, Load, Rival
from benchmarks.gateway.gateways import ROOT
from penstock.bench.measure.quantile import quantile

RESULT = "result.json.gz"


def command(load: Load, folder: Path) -> list[str]:
    """Closed loops only: the open ones are measured in this process."""
    workload = {
        "model": load.model,
        "kinds": [
            {"name": "all", "input": {"law": "fixed", "tokens": 8}, "output": {"law": "fixed", "tokens": load.tokens}}
        ],
        "stages": [{"loop": "closed", "concurrency": load.clients, "requests": load.requests}],
        "extra": {"user": load.words},
        "warmup": 0,
    }
    contract = folder / "contract.yaml"
    contract.write_text(json.dumps({"name": "capacity", "runs": 1, "workload": workload}))  # JSON is YAML
    return [
        sys.executable, "-m", "penstock", "bench", "run", "-f", str(contract), "--url", load.url,
        "--out", str(folder / RESULT),
    ]  # fmt: skip


def parse(found: Mapping[str, Any]) -> Export:
    """Raises KeyError, IndexError."""
    done = [sample for sample in found["runs"][0]["samples"] if sample["ending"] == "ok"]
    return Export(len(done), [], "monotonic", {})


def read(folder: Path) -> Export:
    return parse(json.loads(gzip.decompress((folder / RESULT).read_bytes())))


def tool() -> Rival:
    source = {"PYTHONPATH": str(ROOT / "src")}
    program = Path(sys.executable)
    return Rival("penstock", "this checkout", program, "make", command, read, quantile, {}, source)
