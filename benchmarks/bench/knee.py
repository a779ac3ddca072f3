"""Whether the knee that `penstock bench saturate` states is where it is.

On a real engine it must agree with a brute-force sweep: rates around it, each offered twice, judged by the same SLO. On
an engine that is a queue of known slots the rate is known by simulation, and must lie within what `saturate` states.
"""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from math import inf
from pathlib import Path
from typing import Any

from benchmarks.bars import Bar
from benchmarks.bench import mock
from benchmarks.bench import queue as queues
from benchmarks.bench.sweep import Interval, Judged, distance, grid, knee
from benchmarks.bench.truth import engine
from benchmarks.gateway.gateways import ROOT, NotStarted
from benchmarks.gateway.session import say
from benchmarks.limits.platform import Platform, up
from benchmarks.limits.proof import Proof
from penstock.bench.client.session import Beside, Session
from penstock.bench.client.settings import Patience, Server
from penstock.bench.contract.contract import Contract
from penstock.bench.contract.saturate import Trial
from penstock.bench.measure.figures import Slo
from penstock.bench.measure.moments import e2e
from penstock.bench.measure.quantile import quantile
from penstock.bench.sample import Run
from penstock.bench.traffic.arrivals import Constant
from penstock.bench.traffic.lengths import Fixed
from penstock.bench.traffic.workload import Closed, Kind, Open, Stage, Workload

KEY = "sk-knee-0123456789"
SLOTS, INPUT, OUTPUT = 4, 32, 8
SHARE, TIMES_LONE = 0.9, 3.0
SECONDS, QUICK_SECONDS = 10.0, 4.0
QUEUE_SECONDS = 6.0
LONG = 20
"""A trial is at least so many times as long as a request that is alone."""
RATES, REPEATS = 8, 2
QUEUE_BOUND_S = 3 * mock.HOLDS_S
LONE = 12
"""Requests one after the other, whose median is the SLO's measure."""


def prove(*, quick: bool = False) -> Proof:
    """Raises NotStarted."""
    seconds = QUICK_SECONDS if quick else SECONDS
    with tempfile.TemporaryDirectory(prefix="penstock-knee-") as folder:
        with up(Path(folder) / "platform", [KEY], SLOTS) as platform:
            real = _real(platform, seconds, RATES // 2 if quick else RATES, 1 if quick else REPEATS)
        with engine(Path(folder) / "queue.jsonl") as port:
            queue = _saturate(port, "queue", QUEUE_BOUND_S, QUEUE_SECONDS, 10.0)
    truth = queues.knee(mock.SLOTS, mock.HOLDS_S, QUEUE_BOUND_S, SHARE, QUEUE_SECONDS)
    return judged(real, queue, truth)


def judged(real: dict[str, Any], queue: dict[str, Any], truth: float) -> Proof:
    """`real`: saturate's answer, the sweep's rows and the SLO. `queue`: saturate's answer."""
    stated, swept = stated_by(real["saturate"]), knee([Judged(row["rate"], row["passes"]) for row in real["sweep"]])
    point = real["saturate"]["knee"]["rate"]
    away = distance(point, stated, swept.middle)
    known, off = stated_by(queue), Interval(truth, truth)
    error = queue["knee"]["rate"] / truth - 1
    figures = {
        "real": {
            "slo_e2e_s": real["slo_s"], "lone_s": real["lone_s"], "seconds": real["seconds"],
            "share": SHARE, "stated": ends(stated),
            "sweep": ends(swept), "rate": point, "distance_in_half_widths": away and round(away, 3),
            "trials": len(real["saturate"]["trials"]),
            "sweep_invalid": sum(bool(row["invalid"]) for row in real["sweep"]),
        },
        "queue": {
            "slots": mock.SLOTS, "holds_s": mock.HOLDS_S, "slo_e2e_s": QUEUE_BOUND_S, "share": SHARE,
            "truth": round(truth, 3), "stated": ends(known), "rate": queue["knee"]["rate"], "error": round(error, 4),
        },
    }  # fmt: skip
    bars = [
        Bar(
            "knee_within_sweep", round(stated.gap(swept) / point, 4) if point else None, 0.0, "of the knee apart",
            why=f"saturate {shown(stated)}, sweep {shown(swept)} requests/s; points "
            f"{away if away is None else round(away, 2)} half widths apart",
        ),
        Bar(
            "knee_of_known_queue", round(known.gap(off) / truth, 4), 0.0, "of the knee apart",
            why=f"saturate {shown(known)}, known {truth:.2f} requests/s; its point is {error:+.1%} off",
        ),
    ]  # fmt: skip
    return Proof(bars, figures, {"real": real, "queue": queue})


def stated_by(answer: dict[str, Any]) -> Interval:
    """The interval of `saturate --json`; JSON writes infinity as null."""
    high = answer["knee"]["high"]
    return Interval(answer["knee"]["low"], inf if high is None else high)


def shown(found: Interval) -> str:
    return f"[{found.low:.2f}, {found.high:.2f}]"


def ends(found: Interval) -> list[float | None]:
    return [round(found.low, 4), None if found.high == inf else round(found.high, 4)]


def _real(platform: Platform, seconds: float, rates: int, repeats: int) -> dict[str, Any]:
    server = Server("127.0.0.1", platform.port, keys={"": KEY})
    lone = _lone(server)
    seconds = max(seconds, round(LONG * lone))
    slo = Slo(e2e=round(TIMES_LONE * lone, 3), share=SHARE)
    say(f"a lone request takes {lone * 1e3:.0f} ms, the SLO is {slo.e2e * 1e3:.0f} ms, trials take {seconds:g} s")
    answer = _saturate(platform.port, "", slo.e2e, seconds, round(1 / lone, 2))
    around = answer["knee"]["rate"]
    if not around:
        raise NotStarted("saturate found no rate that meets the SLO")
    rows: list[dict[str, Any]] = []
    for repeat in range(repeats):
        for rate in grid(around, rates):
            run = _run(server, Open(Constant(rate), seconds), slo, 100_000 + len(rows))
            trial = Trial(rate, len(run.samples), sum(map(slo.good, run.samples)))
            if not trial.judged:
                continue  # chance brought no request: such a repetition says nothing
            passes = trial.passes(SHARE)
            rows.append({
                "rate": round(rate, 4), "repeat": repeat, "judged": trial.judged, "good": trial.good, "passes": passes,
                "invalid": run.client.invalid,
            })  # fmt: skip
            say(f"sweep {rate:.2f}/s: {trial.good} of {trial.judged} good, {'passes' if passes else 'fails'}")
    return {"lone_s": round(lone, 4), "seconds": seconds, "slo_s": slo.e2e, "saturate": answer, "sweep": rows}


def _lone(server: Server) -> float:
    """Median of requests one after the other. Raises NotStarted."""
    run = _run(server, Closed(1, LONE), Slo(), 99_000)
    times = sorted(found for sample in run.samples if (found := e2e(sample)) is not None)
    if not times:
        raise NotStarted(f"the platform answers with errors: {run.samples[0].error}")
    return quantile(times, 0.5)


def _run(server: Server, stage: Stage, slo: Slo, seed: int) -> Run:
    """The load that `saturate` sends, of one stage."""
    workload = Workload((Kind("default", Fixed(INPUT), Fixed(OUTPUT)),), (stage,), seed=seed)
    session = Session(
        Contract("sweep", workload, runs=1, slo=slo), server, processes=1, patience=Patience(), beside=Beside(),
        labels={}, tell=lambda _: None,
    )  # fmt: skip
    try:
        return asyncio.run(session.run(0))
    finally:
        session.close()


def _saturate(port: int, model: str, bound: float, seconds: float, first: float) -> dict[str, Any]:
    """What `penstock bench saturate --json` says. Raises NotStarted."""
    named: Sequence[str] = ("--model", model) if model else ()
    command = [
        sys.executable, "-m", "penstock", "bench", "saturate", "--json", "--url", f"http://127.0.0.1:{port}",
        "--slo", f"e2e={bound * 1e3:.0f}ms", "--share", str(SHARE), "--first", str(first), "--seconds", str(seconds),
        "--input", str(INPUT), "--output", str(OUTPUT), *named,
    ]  # fmt: skip
    environment = os.environ | {"PENSTOCK_API_KEY": KEY, "PYTHONPATH": str(ROOT / "src")}
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT, env=environment)
    if done.returncode:
        raise NotStarted(f"penstock bench saturate: {(done.stderr.strip().splitlines() or ['it said nothing'])[-1]}")
    found: dict[str, Any] = json.loads(done.stdout)
    say(f"saturate: {found['knee']}")
    return found
