"""A whole run: every gateway started, rounds interleaved, raw data gathered."""

from __future__ import annotations

import datetime
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
import tomllib
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import uvloop

from benchmarks.gateway.gateways import ROOT, NotStarted, Running, known, start, start_mock
from benchmarks.gateway.measure import NORMAL, SLOW, Dose, Target, many_streams, memory, one_round

LOAD_CORE, GATEWAY_CORE = 0, 1
QUICK = Dose(unary_s=0.6, open_s=0.8, short_s=0.4, long_events=256)
QUICK_NAMES = ("penstock", "nginx", "envoy")
SLOW_ROUNDS = 2


def say(text: str) -> None:
    print(f"[{time.strftime('%H:%M:%S')}] {text}", file=sys.stderr, flush=True)


def machine() -> dict[str, Any]:
    model = [
        line.partition(":")[2].strip()
        for line in Path("/proc/cpuinfo").read_text().splitlines()
        if "model name" in line
    ]
    return {
        "cpu": model[0] if model else platform.machine(),
        "cores": os.cpu_count(),
        "kernel": platform.release(),
        "python": platform.python_version(),
        "load_before": os.getloadavg()[0],
    }


def checkout() -> dict[str, float]:
    """Figures of the package itself: seconds to import it (median of 5 fresh processes), direct dependencies."""
    code = "import time; t = time.perf_counter(); import penstock; print(time.perf_counter() - t)"
    environment = os.environ | {"PYTHONPATH": str(ROOT / "src")}
    times = []
    for _ in range(5):
        done = subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, check=False, env=environment
        )
        if done.returncode == 0:
            times.append(float(done.stdout))
    found: dict[str, float] = {"import_time_s": round(statistics.median(times), 4)} if times else {}
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    return found | {"direct_core_dependencies": len(project["dependencies"])}


def run(*, quick: bool, only: Sequence[str], rounds: int = 0) -> dict[str, Any]:
    """The raw data. Raises ValueError for an unknown name in `only`."""
    gateways = known()
    if unknown := set(only) - set(gateways) - {"direct"}:
        raise ValueError(f"unknown: {', '.join(sorted(unknown))}; known: {', '.join(gateways)}")
    names = [name for name in gateways if name in (only or (QUICK_NAMES if quick else gateways))]
    rounds = rounds or (2 if quick else 9)
    raw: dict[str, Any] = {
        "when": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "machine": machine(), "quick": quick, "checkout": checkout(), "absent": {}, "versions": {}, "starts": {},
        "rounds": [], "streams": [],
    }  # fmt: skip
    os.sched_setaffinity(0, {LOAD_CORE})
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="penstock-bench-")))
        mock, upstream = start_mock(LOAD_CORE)
        stack.callback(mock.wait)
        stack.callback(mock.kill)
        targets = [Target("direct", upstream, 0, QUICK if quick else NORMAL, GATEWAY_CORE)]
        for name in names:
            if hint := gateways[name].missing():
                raw["absent"][name] = f"not installed: {hint}"
                say(f"{name}: {raw['absent'][name]}")
                continue
            try:
                running = start(gateways[name], upstream, folder / name, GATEWAY_CORE)
            except NotStarted as error:
                raw["absent"][name] = f"did not start: {error}"
                say(raw["absent"][name])
                continue
            stack.callback(running.stop)
            targets.append(_introduce(raw, running, QUICK if quick else NORMAL))
        _rounds(raw, targets, rounds, quick=quick)
    return raw


def _introduce(raw: dict[str, Any], running: Running, dose: Dose) -> Target:
    gateway = running.gateway
    time.sleep(0.5)
    idle = memory(running.process.pid)
    raw["starts"][gateway.name] = {"start_s": round(running.start_s, 3), "rss_idle_mb": idle["rss_tree_mb"]}
    raw["versions"][gateway.name] = gateway.version()
    say(f"{gateway.name} {gateway.version()}: first 200 after {running.start_s:.2f} s")
    return Target(gateway.name, running.port, running.process.pid, SLOW if gateway.slow else dose, GATEWAY_CORE)


def _rounds(raw: dict[str, Any], targets: Sequence[Target], rounds: int, *, quick: bool) -> None:
    for number in range(rounds):
        for target in targets:
            if target.dose is SLOW and number >= SLOW_ROUNDS:
                continue
            row = {"round": number, **uvloop.run(one_round(target))}
            raw["rounds"].append(row)
            say(f"round {number + 1}/{rounds} {target.name}: unary {row['unary_us']} us, chunk {row['chunk_us']} us")
    for number in range(1 if quick else 2):
        for target in targets:
            if target.dose is SLOW:
                continue
            row = {"round": number, **uvloop.run(many_streams(target, 1000, 3.0 if quick else 6.0))}
            raw["streams"].append(row)
            say(f"1,000 streams {target.name}: ITL p99 {row['itl_p99_ms']} ms, dropped {row['dropped']}")
