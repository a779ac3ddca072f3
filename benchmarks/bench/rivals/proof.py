"""Penstock and its rivals on the same engines, one after the other: whose figures are true, whose core sends most."""

from __future__ import annotations

import functools
import json
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import uvloop

from benchmarks.bars import Bar
from benchmarks.bench import capacity, truth
from benchmarks.bench.rivals import compare, own
from benchmarks.bench.rivals.run import known, run
from benchmarks.bench.rivals.tool import Load, Rival, Unusable
from benchmarks.gateway.gateways import start_mock
from benchmarks.gateway.plan import MODEL, Plan
from benchmarks.limits.proof import Proof
from penstock.core.clock import monotonic

CLIENTS, EVENTS, PACE = 40, 256, 200
SMALL, LARGE = 40, 840
"""Requests of the two runs whose difference counts."""
START_S = 150.0
"""Beyond its load a rival may take so long: most of it is imports."""


@dataclass(slots=True)
class Found:
    table: list[dict[str, Any]] = field(default_factory=list)
    absent: dict[str, str] = field(default_factory=dict)
    """Tool and what was asked of it -> why there is no figure."""
    capacity: dict[str, Any] = field(default_factory=dict)
    raw: dict[str, Any] = field(default_factory=dict)


def prove(*, quick: bool = False) -> Proof:
    """Raises NotStarted. A rival that does not run stands in `absent`."""
    seconds = 5.0 if quick else 20.0
    found = Found()
    with tempfile.TemporaryDirectory(prefix="penstock-rivals-") as name:
        for way in truth.WAYS:
            _ours(found, way, seconds, Path(name))
            for rival in known():
                with _noted(found, f"{rival.name}, {way}"):
                    _theirs(found, rival, way, seconds, Path(name) / f"{rival.program.name}-{way}")
        mock, port = start_mock(capacity.ENGINE_CORE)
        try:
            _capacity(found, port, Path(name))
        finally:
            mock.kill()
            mock.wait()
    worst = compare.worst(found.table)
    says = {rival.name: dict(rival.says) for rival in known()}
    versions = {rival.name: rival.found() for rival in known()}
    figures = {
        "versions": versions, "absent": found.absent, "worst": worst, "says": says,
        "capacity": found.capacity, "rivals": found.table,
    }  # fmt: skip
    return Proof([_bar(found)], figures, found.raw)


@contextmanager
def _noted(found: Found, what: str) -> Iterator[None]:
    try:
        yield
    except Unusable as error:
        found.absent[what] = str(error)


def _ours(found: Found, way: str, seconds: float, folder: Path) -> None:
    log = folder / f"penstock-{way}.jsonl"
    began = monotonic()
    samples, invalid = uvloop.run(truth.one(way, seconds, log, began, cv=0.0))
    compared = truth.compared(samples, truth.written(log, began))
    head = {"tool": "penstock", "version": "this checkout", "way": way}
    found.table += [
        {**head, "quantity": quantity, "reported_as": quantity, **row}
        for quantity, rows in compared.items()
        for row in rows
    ]
    if invalid:
        found.absent[f"penstock, {way}"] = f"not valid: {invalid}"


def _theirs(found: Found, rival: Rival, way: str, seconds: float, folder: Path) -> None:
    """Raises Unusable."""
    requests = int(truth.RATE * seconds)
    log = folder.with_suffix(".jsonl")
    with truth.engine(log) as port:
        load = Load(f"http://127.0.0.1:{port}", way, requests, truth.TOKENS, rate=truth.RATE)
        export, _ = run(rival, load, folder, seconds + START_S)
    streams = [compare.Written.of(json.loads(line)) for line in log.read_text().splitlines()]
    compare.checked(export, streams, requests)
    behind = time.time() - monotonic() if export.clock == "wall" else 0.0
    sent = [at - behind for at in export.sent]
    found.table += compare.rows(rival, way, export, compare.truths(streams, sent, truth.RATE))
    found.raw.setdefault(rival.name, {})[way] = {
        "sent": [round(at, 6) for at in sorted(sent)],
        "served": sorted([each.read, each.events[0], each.events[-1]] for each in streams),
    }


def _capacity(found: Found, port: int, folder: Path) -> None:
    for tool in (own.tool(), *known()):
        with _noted(found, f"{tool.name}, capacity"):
            cost = functools.partial(_cost, tool, port, folder)
            found.capacity[tool.name] = _difference(cost)


def _difference(cost: Callable[[int], float]) -> dict[str, float]:
    """`cost`: CPU s of so many requests. Raises Unusable."""
    small, large = cost(SMALL), cost(LARGE)
    return {
        "events_per_cpu_s": compare.rate_of((SMALL * EVENTS, small), (LARGE * EVENTS, large)),
        "small_cpu_s": round(small, 3), "large_cpu_s": round(large, 3),
    }  # fmt: skip


def _cost(tool: Rival, port: int, folder: Path, requests: int) -> float:
    """CPU s of a closed loop. Raises Unusable."""
    words = Plan(events=EVENTS, rate=PACE).words()
    load = Load(f"http://127.0.0.1:{port}", MODEL, requests, EVENTS, clients=CLIENTS, words=words)
    export, cpu_s = run(tool, load, folder / f"{tool.program.name}-{requests}", 120.0 + START_S)
    if export.done != requests:
        raise Unusable(f"{export.done} of {requests} requests answered")
    return cpu_s


def _bar(found: Found) -> Bar:
    speeds = {name: each["events_per_cpu_s"] for name, each in found.capacity.items()}
    mine = speeds.pop("penstock", None)
    best = max(speeds.values(), default=None)
    ratio = None if mine is None or best is None else round(mine / best, 2)
    why = ", ".join(f"{name}: {each['events_per_cpu_s']:,.0f}" for name, each in found.capacity.items())
    return Bar("capacity_over_best_rival", ratio, 1.0, "ratio", "higher", why=f"events/CPU s: {why or 'none ran'}")
