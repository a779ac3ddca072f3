"""Whether the figures are true: an engine that writes down when it wrote each byte, percentiles beside percentiles.

Truth for `ttft` is first write - due: the timetable is the plan's, the write is the engine's, and what lies between
them is what a client is to report. In the `freeze` case the engine stands still for a second: who counts from sending,
or waits with sending, does not see it.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import uvloop

from benchmarks.bars import Bar
from benchmarks.gateway.gateways import ROOT
from benchmarks.limits.proof import Proof
from penstock.bench.client.crew import Crew
from penstock.bench.client.run import Runner
from penstock.bench.client.settings import Patience, Server
from penstock.bench.measure.quantile import quantile
from penstock.bench.sample import Sample
from penstock.bench.traffic.arrivals import Constant
from penstock.bench.traffic.lengths import Fixed
from penstock.bench.traffic.plan import Planner, StagePlan
from penstock.bench.traffic.prompts import Prompts
from penstock.bench.traffic.workload import Kind, Open, Workload
from penstock.core.clock import monotonic

WAYS = ("fixed", "bimodal", "stall", "freeze")
QUANTILES = (0.5, 0.9, 0.95, 0.99)
RATE, TOKENS = 40.0, 20
LOAD_CORE, ENGINE_CORE = 0, 1


def prove(*, quick: bool = False) -> Proof:
    """Raises nothing: what does not run is a bar without a value."""
    seconds = 5.0 if quick else 20.0
    figures: dict[str, Any] = {}
    raw: dict[str, Any] = {}
    bars = []
    with tempfile.TemporaryDirectory(prefix="penstock-bench-") as folder:
        for way in WAYS:
            log = Path(folder) / f"{way}.jsonl"
            began = monotonic()
            samples, invalid = uvloop.run(one(way, seconds, log, began))
            served = written(log, began)
            own = compared(samples, served)
            figures[way] = {**own, "requests": len(samples), "invalid": invalid}
            raw[way] = {
                "samples": [[each.index, each.due, each.sent, each.first, each.ended] for each in samples],
                "written": served,
            }
            worst = max((row["error_over_limit"] for rows in own.values() for row in rows), default=None)
            why = f"worst of {', '.join(own)} at p50, p90, p95, p99; 1 is the larger of 1 ms and 1 %"
            bars.append(Bar(f"truth_{way}_worst_error", worst, 1.0, "of allowed", why=why))
    seen = next(row for row in figures["freeze"]["ttft"] if row["q"] == 0.99)
    blind = next(row for row in figures["freeze"]["ttft_from_sent"] if row["q"] == 0.99)
    figures["freeze"]["seen_p99_s"], figures["freeze"]["from_sent_p99_s"] = seen["measured"], blind["measured"]
    bars.append(
        Bar("freeze_seen_p99", seen["measured"], 0.5, "s", "higher", why="the second that the server stood still")
    )
    return Proof(bars, figures, raw)


def compared(samples: list[Sample], written: dict[str, list[float]]) -> dict[str, list[dict[str, float]]]:
    """Percentiles as measured and as they were, with the error as a part of what is allowed: 1 ms or 1 %.

    `written`: index of a request -> when the engine read it and wrote its events, seconds since the run began.
    """
    pairs: dict[str, tuple[list[float], list[float]]] = {}

    def note(name: str, measured: float, true: float) -> None:
        ours, theirs = pairs.setdefault(name, ([], []))
        ours.append(measured)
        theirs.append(true)

    for sample in samples:
        _, *events = written[str(sample.index)]
        note("ttft", sample.first - sample.due, events[0] - sample.due)
        note("ttft_from_sent", sample.first - sample.sent, events[0] - sample.sent)
        note("e2e", sample.last - sample.due, events[-1] - sample.due)
        for gap, (a, b) in zip(sample.gaps, itertools.pairwise(events), strict=True):
            note("itl", gap, b - a)
    return {
        name: [
            row(q, quantile(sorted(ours), q), quantile(sorted(theirs), q)) for q in QUANTILES
        ]
        for name, (ours, theirs) in pairs.items()
    }  # fmt: skip


def row(q: float, measured: float, true: float) -> dict[str, float]:
    """`error_over_limit`: 1 is the larger of 1 ms and 1 %."""
    allowed = max(0.001, 0.01 * true)
    return {
        "q": q, "measured": round(measured, 6), "true": round(true, 6),
        "error_over_limit": round(abs(measured - true) / allowed, 4),
    }  # fmt: skip


async def one(way: str, seconds: float, log: Path, began: float, cv: float = 1.0) -> tuple[list[Sample], str]:
    """Samples, and why the run is not valid. `log`: what the engine writes; `cv`: of the gaps between requests."""
    kind = Kind(way, Fixed(8), Fixed(TOKENS))
    workload = Workload((kind,), (Open(Constant(RATE), seconds, cv=cv),), way, seed=3)
    (plan,) = Planner(workload, way, Prompts(None)).stages()
    for number, planned in enumerate(plan.requests):
        planned.headers = (("x-request-id", str(number)),)
    with engine(log) as port:
        async with Crew(1) as crew:
            for pid in crew.pids:
                os.sched_setaffinity(pid, {LOAD_CORE})
            runner = Runner(crew, Server("127.0.0.1", port), Patience(), lambda _: None, began)
            done = await runner.run([StagePlan(plan.stage, plan.requests)], 1, 0.0)
    return done.samples, done.client.invalid


def written(log: Path, began: float) -> dict[str, list[float]]:
    """The engine's log, as `compared` takes it."""
    lines = [json.loads(line) for line in log.read_text().splitlines()]
    return {line["id"]: [round(at - began, 6) for at in (line["read"], *line["written"])] for line in lines}


@contextlib.contextmanager
def engine(log: Path) -> Iterator[int]:
    """The port of the engine, which has its own core. Its log is whole when the context is left."""
    command = ["taskset", "-c", str(ENGINE_CORE), sys.executable, "-m", "benchmarks.bench.mock", str(log)]
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE)
    assert process.stdout is not None
    try:
        yield int(process.stdout.readline())
    finally:
        process.terminate()
        process.wait(10)
        process.stdout.close()
