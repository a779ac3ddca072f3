"""A Redis that is stopped, frozen or slow under load, as two rules see it: one that fails open, one that fails closed.

Each outage has a fresh Redis and two platforms of two workers with a key each, whose requests all use COST tokens of a
limit of LIMIT per minute. Requests come at fixed times, whatever the answers. The open rule is full when the outage
begins: until its end all pass, then none. The closed rule is not: what workers hold is used up, the rest is refused
with 503. What follows is the same without an outage, to compare with.

What the gateway adds is the 99th percentile through it less that of the same requests straight to an engine, which the
same program sends at the same time: both suffer alike from whatever else runs on the machine.

  stopped   killed (SIGKILL), and started again on its data
  frozen    SIGSTOP: connections stay, nothing is answered
  slow      every reply takes DELAY_S longer
"""

from __future__ import annotations

import asyncio
import tempfile
import time
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import uvloop

from benchmarks.bars import Bar
from benchmarks.gateway.gateways import free_port
from benchmarks.gateway.stats import percentile
from benchmarks.limits.client import Client, Timer, request
from benchmarks.limits.engine import START, Engine
from benchmarks.limits.link import Link
from benchmarks.limits.proof import Proof
from benchmarks.limits.replica import Replica, places, records, replica
from benchmarks.limits.windows import most
from tests.real.servers import Server, redis_at

OUTAGES = ("none", "stopped", "frozen", "slow")
RATES = {"open": 60.0, "closed": 20.0}
"""Rule -> requests per second."""
DIRECT = 60.0
"""Requests per second that go straight to an engine."""
LIMIT, WINDOW_S = 6_000, 60.0
ANSWER = 40
WORDS = 10
COST = START + WORDS + ANSWER
DELAY_S = 0.2
WORKERS = 2
HUNG_S = 1.0
"""An answer that takes longer has hung."""
NOTICED_S = 1.0
"""So long after the beginning of an outage, workers may still believe what the store has said, or wait for it."""
LEASE_S = 3.0
"""What is held may be spent for so long."""
RECOVERS_WITHIN_S = 2.0
PASSED, FULL, AWAY = "200", "rate_limit_exceeded", "limits_unavailable"


@dataclass(frozen=True, slots=True)
class Plan:
    """Seconds."""

    before: float = 3.0
    outage: float = 30.0
    after: float = 12.0

    @property
    def seconds(self) -> float:
        return self.before + self.outage + self.after


Row = tuple[float, float, str]
"""When a request was due, how much later its answer was complete, and what it was."""


@dataclass(frozen=True, slots=True)
class Seen:
    """One rule in one outage. Seconds from the start."""

    rows: list[Row]
    served: list[tuple[float, int]]
    """When a request came to the engine, and the tokens that it used there."""
    recorded: int
    """Records of requests that were answered 200."""


@dataclass(frozen=True, slots=True)
class Run:
    """Seconds from the start at which the outage began, and at which the store was back."""

    began: float
    ended: float
    rules: dict[str, Seen]
    direct: list[Row]
    """Without a gateway."""


def prove(*, quick: bool) -> Proof:
    """Raises NotStarted."""
    plan = Plan(outage=8.0, after=6.0) if quick else Plan()
    runs = uvloop.run(_all(plan))
    figures = {name: {rule: figures_of(name, run, rule) for rule in RATES} for name, run in runs.items()}
    raw = {
        name: {"began": run.began, "ended": run.ended, "direct": run.direct}
        | {rule: {"rows": seen.rows, "served": seen.served} for rule, seen in run.rules.items()}
        for name, run in runs.items()
    }
    return Proof(bars(figures), figures, raw)


async def _all(plan: Plan) -> dict[str, Run]:
    runs = {}
    for name in OUTAGES:
        with tempfile.TemporaryDirectory(prefix="penstock-outages-") as folder:
            runs[name] = await _play(name, plan, Path(folder))
    return runs


async def _play(name: str, plan: Plan, folder: Path) -> Run:
    place, port = folder / "redis", free_port()
    place.mkdir()
    async with AsyncExitStack() as stack:
        server = stack.enter_context(redis_at(place, port))
        link = await stack.enter_async_context(Link(port).open())
        store = f"redis://127.0.0.1:{link.port if name == 'slow' else port}/0"
        engines = {rule: await stack.enter_async_context(Engine(ANSWER, ANSWER, 0.0).listening()) for rule in RATES}
        bare = await stack.enter_async_context(Engine(ANSWER, ANSWER, 0.0).listening())
        ports = await asyncio.gather(
            *(
                stack.enter_async_context(_platform(made, folder, store, engines[rule].port, rule))
                for rule, made in zip(RATES, places(len(RATES)), strict=True)
            )
        )
        begun = time.monotonic() + 0.5
        async with asyncio.TaskGroup() as tasks:
            outage = tasks.create_task(_outage(name, plan, begun, server, link))
            direct = tasks.create_task(_load(bare.port, "direct", begun, DIRECT, plan.seconds))
            loads = {
                rule: tasks.create_task(_load(port, rule, begun, RATES[rule], plan.seconds))
                for rule, port in zip(RATES, ports, strict=True)
            }
        await asyncio.sleep(0.5)  # Records are booked and written
        began, ended = outage.result()
        rules = {
            rule: Seen(
                sorted(load.result()),
                [(round(each.arrived - begun, 3), each.tokens) for each in engines[rule].served],
                _recorded(folder / rule),
            )
            for rule, load in loads.items()
        }
        return Run(began, ended, rules, sorted(direct.result()))


@asynccontextmanager
async def _platform(made: Replica, folder: Path, store: str, engine: int, rule: str) -> AsyncIterator[int]:
    """The port of one whose only limit is of this kind."""
    text = f"total_tokens={LIMIT}/minute" + (",fail_open" if rule == "open" else "")
    key = f"sk-{rule}-0123456789abcdef"
    async with replica(made, folder / rule, engine, keys=(key,), store=store, rules=[text], workers=WORKERS) as ready:
        yield ready.port


async def _outage(name: str, plan: Plan, begun: float, server: Server, link: Link) -> tuple[float, float]:
    """When it began and ended, in seconds from `begun`."""
    await asyncio.sleep(begun + plan.before - time.monotonic())
    began = time.monotonic()
    if name == "stopped":
        await asyncio.to_thread(server.kill)
    elif name == "frozen":
        server.freeze()
    elif name == "slow":
        link.delay_s = DELAY_S
    await asyncio.sleep(began + plan.outage - time.monotonic())
    if name == "stopped":
        await asyncio.to_thread(server.start)
    server.thaw()
    link.delay_s = 0.0
    return round(began - begun, 3), round(time.monotonic() - begun, 3)


async def _load(port: int, name: str, begun: float, rate: float, seconds: float) -> list[Row]:
    asked = request(f"sk-{name}-0123456789abcdef", WORDS, ANSWER, stream=False)
    idle: list[Client] = []
    rows: list[Row] = []

    async def ask(due: float) -> None:
        client = idle.pop() if idle else Client(port)
        reply = await client.ask(asked)
        rows.append((round(due - begun, 3), round(time.monotonic() - due, 4), reply.code or str(reply.status)))
        idle.append(client)

    async with asyncio.TaskGroup() as tasks:
        async for due in Timer(begun, 1 / rate, seconds):
            tasks.create_task(ask(due))
    for client in idle:
        client.close()
    return rows


def _recorded(folder: Path) -> int:
    return sum(record["status"] == 200 for record in records(folder))


def figures_of(name: str, run: Run, rule: str) -> dict[str, Any]:
    """Times in milliseconds unless they say otherwise."""
    seen = run.rules[rule]
    during = _during(run, seen.rows)
    latencies = [row[1] * 1e3 for row in during]
    p99, direct = percentile(latencies, 0.99), percentile([row[1] * 1e3 for row in _during(run, run.direct)], 0.99)
    told = Counter(row[2] for row in during)
    passed = sum(row[2] == PASSED for row in seen.rows)
    return {
        "requests": len(during),
        "told": dict(told),
        "p50_ms": round(percentile(latencies, 0.5), 2),
        "p99_ms": round(p99, 2),
        "direct_p99_ms": round(direct, 2),
        "added_p99_ms": round(p99 - direct, 2),
        "max_ms": round(max(latencies), 2),
        "hung": sum(row[1] > HUNG_S for row in seen.rows),
        "unexpected": len(unexpected(name, run, rule)),
        "uncounted": abs(passed - seen.recorded) + abs(passed - len(seen.served)),
        "recovery_s": round(recovery(run, rule), 3),
        "astray": astray(run, rule),
        "fullest_over_limit": round(most(seen.served, WINDOW_S) / LIMIT, 4),
    }


def _during(run: Run, rows: Sequence[Row]) -> list[Row]:
    return [row for row in rows if run.began <= row[0] < run.ended]


def unexpected(name: str, run: Run, rule: str) -> list[Row]:
    """Answers that the rule should not have given."""
    return [row for row in run.rules[rule].rows if row[2] not in _expected(name, run, rule, row[0])]


def _expected(name: str, run: Run, rule: str, at: float) -> Sequence[str]:
    away = name != "none" and run.began <= at
    if rule == "open":
        # A slow store says after all that the limit is full; one that is gone can say nothing.
        silent = name in ("stopped", "frozen") and run.began + NOTICED_S <= at < run.ended
        return (PASSED,) if silent else (PASSED, FULL)
    if not away:
        return (PASSED, FULL)
    if name == "slow" or at < run.began + NOTICED_S or at >= run.ended:
        return (PASSED, FULL, AWAY)
    return (PASSED, AWAY) if at < run.began + LEASE_S + NOTICED_S else (AWAY,)


def enforced(rule: str) -> Sequence[str]:
    """Answers that tell that the rule is enforced: the open one, which is full, refuses; the closed one has a store."""
    return (FULL,) if rule == "open" else (PASSED, FULL)


def recovery(run: Run, rule: str) -> float:
    """Seconds until the rule is enforced again; all that was seen, when it never was."""
    after = [row for row in run.rules[rule].rows if row[0] >= run.ended]
    return min((at + took for at, took, told in after if told in enforced(rule)), default=after[-1][0]) - run.ended


def astray(run: Run, rule: str) -> int:
    """Answers after that which were not: a store that takes longer than a request may wait is away for that request."""
    since = run.ended + recovery(run, rule)
    return sum(at >= since and told not in enforced(rule) for at, _, told in run.rules[rule].rows)


def bars(figures: dict[str, dict[str, dict[str, Any]]]) -> list[Bar]:
    """Of both rules the worse figure."""
    found = []
    for name, rules in figures.items():
        if name == "none":
            continue
        told = "; ".join(f"{rule}: {own['told']}" for rule, own in rules.items())
        usual = "; ".join(
            f"{rule}: p99 {own['p99_ms']} ms, {own['direct_p99_ms']} ms without a gateway; "
            f"{figures['none'][rule]['added_p99_ms']} ms added without an outage"
            for rule, own in rules.items()
        )
        found += [
            Bar(f"outages_{name}_unexpected", _worst(rules, "unexpected"), 0, "answers", why=told),
            Bar(f"outages_{name}_hung", _worst(rules, "hung"), 0, "requests"),
            Bar(f"outages_{name}_added_p99", _worst(rules, "added_p99_ms"), 60, "ms", strict=True, why=usual),
            Bar(f"outages_{name}_recovery", _worst(rules, "recovery_s"), RECOVERS_WITHIN_S, "s"),
        ]
    worst = max(float(rules["closed"]["fullest_over_limit"]) for rules in figures.values())
    uncounted = sum(int(own["uncounted"]) for rules in figures.values() for own in rules.values())
    return [
        *found,
        Bar("outages_closed_fullest_window", worst, 1.02, "of limit"),
        Bar("outages_uncounted", uncounted, 0, "requests", why="answered 200 against Records and the engine's count"),
    ]


def _worst(rules: dict[str, dict[str, Any]], figure: str) -> float:
    return max(float(own[figure]) for own in rules.values())
