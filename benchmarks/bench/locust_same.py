"""Whether Locust, with the file of `penstock bench locust`, sees what `penstock bench run` sees of the same load.

The engine is the mock whose latencies are known; one contract, a few clients. Locust has a virtual environment of its
own below `.bench/`: `python -m benchmarks.bench install` makes it.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections import defaultdict
from math import hypot
from pathlib import Path
from typing import Any

from benchmarks.bars import Bar
from benchmarks.bench.truth import LOAD_CORE, engine
from benchmarks.gateway.gateways import ROOT, NotStarted
from benchmarks.limits.proof import Proof
from penstock.bench.contract.baseline import unpacked
from penstock.bench.measure.moments import e2e, tpot, ttft
from penstock.bench.measure.quantile import interval, quantile

VENV = ROOT / ".bench" / "locust"
VERSION = "2.47.0"
WAYS = ("fixed", "bimodal", "stall")
CONTRACT = """
name: locust-same
workload:
  model: {way}
  kinds: [{{name: k, input: {{law: fixed, tokens: 32}}, output: {{law: fixed, tokens: 16}}}}]
  stages:
    - {{loop: closed, concurrency: 1, requests: {one}}}
    - {{loop: closed, concurrency: 8, requests: {eight}}}
  warmup: 2
runs: 1
"""
"""One length of answers: with several, the median can lie on the edge between two of them, where any noise moves it."""
LISTENER = """
import json, os
from locust import events
TOLD = open(os.environ["TOLD"], "w")
@events.request.add_listener
def tell(request_type, name, response_time, response_length, exception, **_):
    TOLD.write(json.dumps([request_type, name, response_time, str(exception or "")]) + "\\n")
    TOLD.flush()
"""
"""Locust's own tables are rounded."""
QUANTITIES = {"ttft": ttft, "e2e": e2e, "tpot": tpot}
LEAST_S = {"ttft": 0.002, "e2e": 0.002, "tpot": 0.0002}
"""Medians may differ by so much, however short they are."""
Values = dict[tuple[str, str], list[float]]
"""(stage, quantity) -> seconds, sorted."""


def install() -> None:
    subprocess.run([sys.executable, "-m", "venv", str(VENV)], check=True)
    subprocess.run([str(VENV / "bin" / "pip"), "install", "-q", f"locust=={VERSION}"], check=True)


def prove(*, quick: bool = False) -> Proof:
    """Raises NotStarted without Locust, or when either tool fails."""
    if not (VENV / "bin" / "locust").is_file():
        raise NotStarted("there is no Locust below .bench/; python -m benchmarks.bench install")
    figures: dict[str, Any] = {}
    bars = []
    with tempfile.TemporaryDirectory(prefix="penstock-locust-") as folder:
        for way in WAYS[:1] if quick else WAYS:
            ours, theirs = _both(way, Path(folder), *((10, 32) if quick else (40, 320)))
            if ours.keys() != theirs.keys():
                raise NotStarted(f"stages and quantities differ: {sorted(ours)} and {sorted(theirs)}")
            rows = {
                f"{stage} {what}": _row(ours[stage, what], theirs[stage, what], LEAST_S[what])
                for stage, what in sorted(ours)
            }
            figures[way] = rows
            worst = max(rows, key=lambda name: rows[name]["off_over_limit"])
            bars.append(
                Bar(
                    f"locust_{way}_worst_p50_off",
                    rows[worst]["off_over_limit"],
                    1.0,
                    "of allowed",
                    why=f"{worst}; 1 is the largest of 2 %, 2 ms (TPOT: 0.2 ms), and what chance explains",
                )
            )
            bars.append(
                Bar(f"locust_{way}_answers_more_or_fewer", max(abs(r["more"]) for r in rows.values()), 0, "answers")
            )
    return Proof(bars, figures, {})


def _row(ours: list[float], theirs: list[float], least_s: float) -> dict[str, float]:
    mine, other = quantile(ours, 0.5), quantile(theirs, 0.5)
    chance = hypot(_half(ours), _half(theirs))
    allowed = max(least_s, 0.02 * mine, chance)
    return {
        "penstock_p50": round(mine, 6), "locust_p50": round(other, 6),
        "penstock_p95": round(quantile(ours, 0.95), 6), "locust_p95": round(quantile(theirs, 0.95), 6),
        "by_chance": round(chance, 6),
        "off_over_limit": round(abs(mine - other) / allowed, 4), "more": len(theirs) - len(ours),
    }  # fmt: skip


def _half(values: list[float]) -> float:
    """Half of the median's 95 % interval: two tools do not send the same request at the same moment, and an engine that
    answers fast or slow by chance answers them differently."""
    found = interval(values, 0.5)
    return (found[1] - found[0]) / 2 if found is not None else 0.0


def _both(way: str, folder: Path, one: int, eight: int) -> tuple[Values, Values]:
    contract = folder / f"{way}.yaml"
    contract.write_text(CONTRACT.format(way=way, one=one, eight=eight))
    kept, told = folder / f"{way}.json.gz", folder / f"{way}_told.jsonl"
    with engine(folder / f"{way}.jsonl") as port:
        _run([*_penstock("run"), "-f", str(contract), "--url", f"http://127.0.0.1:{port}", "--out", str(kept)])
    with engine(folder / f"{way}.jsonl") as port:  # afresh: what it does by chance, it does again
        made, listener = folder / f"{way}_locust.py", folder / "listener.py"
        made.write_text(_run([*_penstock("locust"), "-f", str(contract), "--url", f"http://127.0.0.1:{port}"]))
        listener.write_text(LISTENER)
        locust = [str(VENV / "bin" / "locust"), "-f", f"{made},{listener}", "--headless", "--only-summary"]
        _run([*locust, "--stop-timeout", "10"], TOLD=str(told))
    return _ours(kept), _theirs(told)


def _penstock(verb: str) -> list[str]:
    return [sys.executable, "-m", "penstock", "bench", verb]


def _run(command: list[str], **more: str) -> str:
    environment = os.environ | {"PYTHONPATH": str(ROOT / "src")} | more
    pinned = ["taskset", "-c", str(LOAD_CORE), *command]
    done = subprocess.run(pinned, cwd=ROOT, env=environment, capture_output=True, text=True, check=False, timeout=600)
    if done.returncode:
        raise NotStarted(f"{' '.join(command[:5])} ended with {done.returncode}: {done.stderr[-500:]}")
    return done.stdout


def _ours(kept: Path) -> Values:
    (run,) = unpacked(kept.read_bytes()).runs
    found: Values = defaultdict(list)
    for sample in run.samples:
        for what, of in QUANTITIES.items():
            if (value := of(sample)) is not None:
                found[run.stages[sample.stage].name, what].append(value)
    return {place: sorted(values) for place, values in found.items()}


def _theirs(told: Path) -> Values:
    found: Values = defaultdict(list)
    for what, stage, milliseconds, problem in map(json.loads, told.read_text().splitlines()):
        if problem:
            raise NotStarted(f"Locust: {problem}")
        found[stage, what].append(milliseconds / 1e3)
    return {place: sorted(values) for place, values in found.items()}
