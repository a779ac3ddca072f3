"""Two engines under one load in one run: a decision matrix, by `penstock bench matrix` (catalogue B9).

llama.cpp (embedded, behind the platform) and vLLM, each on one core with the same small model, in the precision that
each would be run with here. SGLang, TGI and Triton need a GPU or a container, which this machine
has not; the command is the same for them.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from benchmarks.bars import Bar
from benchmarks.bench.servers import KEY, llamacpp, vllm
from benchmarks.gateway.gateways import ROOT, NotStarted
from benchmarks.limits.proof import Proof

CONTRACT = ROOT / "benchmarks" / "contracts" / "frameworks.yaml"
ROUNDS, QUICK_ROUNDS = 8, 2
WISHES = {
    "interactive": ("ttft.p50=2", "tpot.p50=1"),
    "throughput": ("output_rate=1",),
    "what the contract judges": (),
}
"""Name -> weights."""


def prove(*, quick: bool = False) -> Proof:
    """Raises NotStarted."""
    with tempfile.TemporaryDirectory(prefix="penstock-frameworks-") as name:
        folder = Path(name)
        kept = folder / "sets"
        with vllm(folder / "vllm") as servers, llamacpp(folder / "llamacpp", threads=1) as embedded:
            measured = {"vllm": servers[0].url, "llamacpp": embedded.url, "llamacpp-twin": embedded.url}
            _matrix(
                *(f"{name}={url}" for name, url in measured.items()), "-f", str(CONTRACT),
                "--rounds", str(QUICK_ROUNDS if quick else ROUNDS), "--out", str(kept),
            )  # fmt: skip
        sets = [f"{name}={kept / name}.json.gz" for name in measured]
        found = {
            wish: _matrix(*sets, *(each for weight in weights for each in ("--weight", weight)))
            for wish, weights in WISHES.items()
        }
    return judged(found)


def judged(found: dict[str, Any]) -> Proof:
    """`found`: wish -> what `matrix --json` told."""
    figures: dict[str, Any] = {}
    told = 0
    for wish, matrix in found.items():
        rows = {place["name"]: place for place in matrix["places"]}
        figures[wish] = {
            name: {key: row[key] for key in ("standing", "score", "low", "high", "why")} for name, row in rows.items()
        }
        told += _apart(rows["llamacpp"], rows["llamacpp-twin"])
    served = {place["name"] for matrix in found.values() for place in matrix["places"] if place["standing"] != "out"}
    values = {place["name"]: place["values"] for place in found["what the contract judges"]["places"]}
    bars = [
        Bar(
            "frameworks_measured",
            len(served - {"llamacpp-twin"}),
            2,
            "engines",
            "higher",
            why="llama.cpp and vLLM; others need a GPU",
        ),
        Bar("frameworks_twin_told_apart", told, 0, f"of {len(found)} matrices", why="the same server under two names"),
    ]
    return Proof(bars, {"scores": figures, "values": values}, found)


def _apart(one: dict[str, Any], twin: dict[str, Any]) -> bool:
    """Whether one of two that are the same is best, and the other surely not as good."""
    return {one["standing"], twin["standing"]} == {"best", "behind"}


def _matrix(*arguments: str) -> Any:
    """What `penstock bench matrix --json` said. Raises NotStarted."""
    environment = os.environ | {"PENSTOCK_API_KEY": KEY, "PYTHONPATH": str(ROOT / "src")}
    command = [sys.executable, "-m", "penstock", "bench", "matrix", *arguments, "--json"]
    done = subprocess.run(command, cwd=ROOT, env=environment, check=False, capture_output=True, text=True)
    if done.returncode not in (0, 1) or not done.stdout:
        raise NotStarted(f"penstock bench matrix: {(done.stderr.strip().splitlines() or ['it said nothing'])[-1]}")
    return json.loads(done.stdout)
