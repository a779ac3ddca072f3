"""One limit, kept by two replicas of four workers on one store, under more demand than it lets through.

CLIENTS clients in a closed loop share one key that may use LIMIT tokens per minute. They come again PAUSE_S after a
refusal, whatever `retry-after` says, so that somebody always wants in. The engine counts: what it read and wrote may
exceed the limit in no minute, dated by when requests came to it, and has to use the limit up. Dated by when they ended
it is a figure without a bar: a limit decides before a request runs, and how long that takes is the engine's business.
"""

from __future__ import annotations

import asyncio
import random
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import AsyncExitStack, ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import uvloop

from benchmarks.bars import Bar
from benchmarks.gateway.gateways import free_port
from benchmarks.limits.client import Client, request
from benchmarks.limits.engine import Engine
from benchmarks.limits.proof import Proof
from benchmarks.limits.replica import places, records, replica
from benchmarks.limits.windows import most
from tests.real.servers import postgres_at, redis_at

KEY = "sk-limits-0123456789abcdef"
WARM = "sk-warm-0123456789abcdef"
WARM_S = 4.0
"""So long the clients first ask under another key, so that connections stand and nothing is done for the first time."""
CLIENTS = 200
PAUSE_S = 1.0
SPREAD = 0.4
"""Part of a pause by which it is shorter or longer, so that clients do not march in step."""
REPLICAS, WORKERS = 2, 4
TOLERANCE = 0.02
WORDS = (10, 60)
"""Of a prompt."""
ANSWER = (20, 60)
"""Tokens that the engine draws for an answer."""
MOST = 48
"""`max_tokens` of every other client; the others send none."""
PACE_S = 0.005
"""Per token of an answer."""


@dataclass(frozen=True, slots=True)
class Plan:
    limit: int = 10_000
    window_s: int = 60
    windows: int = 3
    clients: int = CLIENTS
    workers: int = WORKERS

    @property
    def seconds(self) -> float:
        return float(self.window_s * self.windows)


FULL, QUICK = Plan(), Plan(2_000, 10)


@dataclass(frozen=True, slots=True)
class Run:
    """Served: seconds from the start at which a request came to the engine and ended there, tokens read and written."""

    served: list[tuple[float, float, int, int]]
    told: dict[str, int]
    """What clients were told -> how often."""
    recorded: list[tuple[float, int]]
    """When the gateway had received each of them, and its tokens, by its Records."""


def prove(*, quick: bool) -> Proof:
    """Raises NotStarted."""
    plan = QUICK if quick else FULL
    runs = uvloop.run(_all(plan))
    figures = {name: figures_of(run, plan) for name, run in runs.items()}
    raw = {name: {"served": run.served, "told": run.told, "recorded": run.recorded} for name, run in runs.items()}
    return Proof(bars(figures, plan), figures, raw)


async def _all(plan: Plan) -> dict[str, Run]:
    """The stores at the same time, each with a platform of its own; unary requests and streams one after the other."""
    runs: dict[str, Run] = {}
    for kind in ("unary", "stream"):
        with ExitStack() as stack:
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="penstock-exact-")))
            urls = {name: stack.enter_context(server(name, folder)) for name in ("redis", "postgres")}
            async with asyncio.TaskGroup() as tasks:
                running = {
                    name: tasks.create_task(run(plan, url, folder / f"{name}-replicas", stream=kind == "stream"))
                    for name, url in urls.items()
                }
            runs |= {f"{name}_{kind}": task.result() for name, task in running.items()}
    return runs


@contextmanager
def server(name: str, folder: Path) -> Iterator[str]:
    """The URL of a real one."""
    if name == "redis":
        place = folder / "redis"
        place.mkdir()
        with redis_at(place, free_port()) as running:
            yield running.url
    else:
        with postgres_at(free_port()) as running:
            yield running.url


async def run(plan: Plan, store: str, folder: Path, *, stream: bool, key: str = KEY) -> Run:
    """One platform on one store. Raises NotStarted."""
    engine = Engine(*ANSWER, PACE_S)
    rule = f"total_tokens={plan.limit}/{plan.window_s}s"
    async with AsyncExitStack() as stack:
        await stack.enter_async_context(engine.listening())
        made = [
            stack.enter_async_context(
                replica(
                    place,
                    folder / str(number),
                    engine.port,
                    keys=(key, WARM),
                    store=store,
                    rules=[rule],
                    workers=plan.workers,
                )
            )
            for number, place in enumerate(places(REPLICAS))
        ]
        replicas = await asyncio.gather(*made)
        ports = [each.port for each in replicas]
        await _ask(ports, plan, WARM, WARM_S, stream=stream)
        engine.served.clear()
        begun, begun_at = time.monotonic(), time.time()
        told = await _ask(ports, plan, key, plan.seconds, stream=stream)
        await asyncio.sleep(0.5)  # Records are booked and written
    served = [
        (round(each.arrived - begun, 4), round(each.ended - begun, 4), each.read, each.written)
        for each in engine.served
    ]
    recorded = [
        (round(record["time"] - begun_at, 4), record["input_tokens"] + record["output_tokens"])
        for number in range(REPLICAS)
        for record in records(folder / str(number))
        if record["status"] == 200 and record["time"] >= begun_at
    ]
    return Run(sorted(served), dict(told), sorted(recorded))


async def _ask(ports: Sequence[int], plan: Plan, key: str, seconds: float, *, stream: bool) -> Counter[str]:
    """What the clients were told."""
    told: Counter[str] = Counter()
    until = time.monotonic() + seconds
    async with asyncio.TaskGroup() as tasks:
        for number in range(plan.clients):
            client = Client(ports[number % REPLICAS])
            tasks.create_task(_hammer(client, number, until, told, key=key, stream=stream))
    return told


async def _hammer(client: Client, number: int, until: float, told: Counter[str], *, key: str, stream: bool) -> None:
    draw = random.Random(number)
    async with client:
        await asyncio.sleep(draw.random() * PAUSE_S)
        while time.monotonic() < until:
            words = draw.randint(*WORDS)
            reply = await client.ask(request(key, words, MOST if number // 2 % 2 else None, stream=stream))
            told[reply.code or str(reply.status)] += 1
            if reply.status != 200:
                await asyncio.sleep(PAUSE_S * (1 + SPREAD * (2 * draw.random() - 1)))


def figures_of(run: Run, plan: Plan) -> dict[str, Any]:
    """As parts of the limit: the fullest window, and all that was let through of what the time allows."""
    inside = [each for each in run.served if each[0] < plan.seconds]
    total = sum(read + written for _, _, read, written in inside)
    by_arrival, by_end = (
        round(most([(each[place], each[2] + each[3]) for each in run.served], plan.window_s) / plan.limit, 4)
        for place in (0, 1)
    )
    return {
        "requests": len(inside),
        "tokens": total,
        "by_arrival": by_arrival,
        "by_end": by_end,
        "by_record": round(most(run.recorded, plan.window_s) / plan.limit, 4),
        "total_over_allowed": round(total / (plan.windows * plan.limit), 4),
        "told": run.told,
    }


def bars(figures: dict[str, Any], plan: Plan) -> list[Bar]:
    """Two per store and kind."""
    found = []
    for name, own in figures.items():
        dated = f"{own['by_record']} by when the gateway received requests, {own['by_end']} by when they ended"
        why = f"{own['tokens']} tokens of {plan.limit * plan.windows} in {own['requests']} requests; told {own['told']}"
        found += [
            Bar(f"exact_{name}_fullest_window", own["by_arrival"], 1 + TOLERANCE, "of limit", why=dated),
            Bar(f"exact_{name}_total", own["total_over_allowed"], 1 - TOLERANCE, "of allowed", "higher", why=why),
        ]
    return found
