"""How much load one core of the client sends: token events by CPU second, and streams at once.

The engine (that of `benchmarks.gateway`) has the other core. CPU is that of the client's process over the stage. Beside
it the client that most tools are made of, httpx with `aiter_lines`, on the same engine.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import time
from collections.abc import Iterator
from typing import Any

import httpx
import uvloop

from benchmarks.bars import Bar
from benchmarks.gateway.gateways import start_mock
from benchmarks.gateway.plan import MODEL, Plan
from benchmarks.limits.proof import Proof
from penstock.bench.client.crew import Crew
from penstock.bench.client.run import Runner
from penstock.bench.client.settings import Patience, Server
from penstock.bench.sample import Ending, Planned
from penstock.bench.traffic.plan import StagePlan
from penstock.bench.traffic.workload import Closed
from penstock.core.clock import monotonic

LOAD_CORE, ENGINE_CORE = 0, 1
STREAMS, EVENTS, RATE = 200, 512, 200
MANY, MANY_EVENTS, MANY_RATE = 5000, 40, 4


def prove(*, quick: bool = False) -> Proof:
    """Raises NotStarted."""
    mock, port = start_mock(ENGINE_CORE)
    try:
        with on_load_core():
            ours = [uvloop.run(_ours(port, STREAMS, EVENTS, RATE)) for _ in range(1 if quick else 3)]
            theirs = [uvloop.run(_httpx(port, 40, EVENTS // 2, RATE)) for _ in range(1 if quick else 3)]
            many = uvloop.run(_ours(port, 1000 if quick else MANY, MANY_EVENTS, MANY_RATE))
    finally:
        mock.kill()
        mock.wait()
    best = sorted(each["events_per_cpu_s"] for each in ours)[len(ours) // 2]
    peer = sorted(each["events_per_cpu_s"] for each in theirs)[len(theirs) // 2]
    figures = {"penstock": ours, "httpx": theirs, "many": many}
    return Proof(
        [
            Bar("events_per_core", best, 80_000, "events/CPU s", "higher", why=f"httpx: {peer:,.0f}"),
            Bar("streams_at_once_per_core", many["at_once"], 1000 if quick else MANY, "streams", "higher"),
            Bar("streams_at_once_failed", many["failed"], 0, "streams"),
        ],
        figures,
        {},
    )


@contextlib.contextmanager
def on_load_core() -> Iterator[None]:
    """This process, and those that it starts, keep to the load's core."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {LOAD_CORE})
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def _body(events: int, rate: int) -> bytes:
    wanted: dict[str, Any] = {
        "model": MODEL,
        "messages": [{"role": "user", "content": Plan(events=events, rate=rate).words()}],
        "max_tokens": events,
        "stream": True,
        "stream_options": {"include_usage": True},
    }
    return json.dumps(wanted, separators=(",", ":")).encode()


async def _ours(port: int, streams: int, events: int, rate: int) -> dict[str, float]:
    requests = [Planned(None, _body(events, rate), model=MODEL, output_tokens=events) for _ in range(streams)]
    async with Crew(1) as crew:
        os.sched_setaffinity(crew.pids[0], {LOAD_CORE})
        runner = Runner(crew, Server("127.0.0.1", port), Patience(), lambda _: None, monotonic())
        done = await runner.run([StagePlan(Closed(streams, streams), requests)], 1, 0.0)
    counted = sum(sample.events for sample in done.samples)
    latest = max(sample.first for sample in done.samples)
    return {
        "events": counted,
        "cpu_s": round(done.client.cpu_s, 3),
        "events_per_cpu_s": round(counted / done.client.cpu_s),
        "wall_s": round(done.client.wall_s, 3),
        "busiest": round(done.client.busiest, 3),
        "failed": sum(sample.ending is not Ending.OK or sample.events < events for sample in done.samples),
        "at_once": sum(sample.first <= latest <= sample.ended for sample in done.samples),
        "ttft_p99_s": round(sorted(sample.first - sample.due for sample in done.samples)[int(streams * 0.99)], 4),
    }


async def _httpx(port: int, streams: int, events: int, rate: int) -> dict[str, float]:
    limits = httpx.Limits(max_connections=None)
    seen = 0

    async def one(client: httpx.AsyncClient) -> None:
        nonlocal seen
        headers = {"content-type": "application/json"}
        async with client.stream("POST", "/v1/chat/completions", content=_body(events, rate), headers=headers) as got:
            async for line in got.aiter_lines():
                if line.startswith("data: {") and json.loads(line[6:])["choices"]:
                    seen += 1

    spent = time.process_time()
    async with httpx.AsyncClient(
        base_url=f"http://127.0.0.1:{port}", limits=limits, timeout=60, trust_env=False
    ) as client:
        await asyncio.gather(*(one(client) for _ in range(streams)))
    cpu = time.process_time() - spent
    return {"events": seen, "cpu_s": round(cpu, 3), "events_per_cpu_s": round(seen / cpu)}
