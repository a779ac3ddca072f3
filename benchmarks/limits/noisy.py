"""A noisy neighbour on a real engine: python -m benchmarks.limits.noisy [--json] [--quick] [--rounds N] [--out FOLDER]

Three modest tenants and one that floods share one llama.cpp engine with four slots behind `penstock up`. Rounds of four
phases, each phase on the same engine:

  share    the modest tenants as if each were alone with its fair share: one request at a time each, so one slot of
           four, at Poisson times with LOAD of what a slot does; the fourth keeps its own slot busy
  flood    the same requests at the same times with no such bound, while the fourth sends FLOOD times the requests of
           one of them
  greedy   everybody backlogged: each modest tenant keeps 4 requests outstanding, the fourth FLOOD times as many;
           their answers have different lengths
  open     as greedy, on a platform whose engine has no bound and so no queue in the gateway

Wait: what the client's own bound kept back (share) and `queue_s` of the Record. Service: the cost of prompts, and of
answers as they arrive at the clients, in the units of the counters.
"""

from __future__ import annotations

import argparse
import asyncio
import hashlib
import json
import random
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from benchmarks.bars import Bar
from benchmarks.gateway.gateways import ROOT, NotStarted
from benchmarks.gateway.stats import median, percentile
from benchmarks.limits.platform import Platform, up
from benchmarks.limits.proof import Proof
from benchmarks.limits.tenants import Load, Tenant, always, at_times, poisson
from penstock.policy.fair import Prices, jain

RESULTS = ROOT / "results" / "limits"
SLOTS = 4
LOAD = 0.7
FLOOD = 50
OUTSTANDING = 4
LENGTHS = (6, 12, 24, 12)
"""Tokens of the answers of the greedy tenants, the flooding one last."""
PRICES = Prices()


@dataclass(frozen=True, slots=True)
class Plan:
    rounds: int = 8
    calibrate_s: float = 5.0
    """Every round begins with it: a machine's speed changes."""
    seconds: float = 25.0
    """Of share and of flood."""
    greedy_s: float = 20.0
    warm_s: float = 4.0
    """At the start of the greedy phases, not counted."""


QUICK = Plan(1, 4.0, 15.0, 8.0, 2.0)
SETTLE_S = 2.5
"""Between phases: clients have left, the engine stops their requests, and its metrics are read again."""
UNBOUNDED = 10_000
CALM_S = 1.0
"""An engine that answers a single request three times within it has nothing else to do."""


@dataclass(slots=True)
class Raw:
    """Waits in seconds, services in cost per second."""

    rates: list[float] = field(default_factory=list)
    """Requests per second that the engine does with all slots busy, per round."""
    share: list[dict[str, list[float]]] = field(default_factory=list)
    flood: list[dict[str, list[float]]] = field(default_factory=list)
    refused: list[dict[str, int]] = field(default_factory=list)
    """Requests of the flood phase that were not answered 200."""
    offered: list[dict[str, int]] = field(default_factory=list)
    greedy: list[dict[str, float]] = field(default_factory=list)
    open: list[dict[str, float]] = field(default_factory=list)


def tenants() -> list[Tenant]:
    """Three modest ones, and the one that floods."""
    names = ["modest1", "modest2", "modest3", "flood"]
    return [Tenant(name, "sk-" + hashlib.sha256(name.encode()).hexdigest()[:24]) for name in names]


def p95(waits: Sequence[float]) -> float:
    return percentile(waits, 0.95) if waits else float("nan")


def say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


async def calibrate(platform: Platform, seconds: float, rng: random.Random) -> float:
    """Requests per second with as many outstanding as there are slots."""
    load = Load(platform.port, rng)
    begun = time.monotonic()
    await always(load, tenants()[0], SLOTS, lambda: time.monotonic() < begun + seconds)
    bad = [row for row in load.rows if row.status != 200]
    if bad:
        raise NotStarted(f"the engine answered {bad[0].status}")
    return len(load.rows) / (max(row.done for row in load.rows) - begun)


async def arrivals(
    platform: Platform, plan: Plan, rate: float, number: int, *, flooded: bool
) -> tuple[dict[str, list[float]], dict[str, int], dict[str, int]]:
    """Waits of the modest tenants' requests, and for all tenants how many were refused and how many sent."""
    *modest, noisy = tenants()
    own = LOAD * rate / SLOTS
    load = Load(platform.port, random.Random(f"{number} {flooded}"))
    begun = time.monotonic() + 0.5
    until = begun + plan.seconds
    if flooded:
        times = poisson(random.Random(f"flood {number}"), FLOOD * own, plan.seconds)
        beside = asyncio.ensure_future(at_times(load, noisy, begun, times))
    else:
        beside = asyncio.ensure_future(always(load, noisy, 1, lambda: time.monotonic() < until + plan.seconds))
    async with asyncio.TaskGroup() as tasks:
        for tenant in modest:
            times = poisson(random.Random(f"{tenant.name} {number}"), own, plan.seconds)
            tasks.create_task(at_times(load, tenant, begun, times, 0 if flooded else 1))
    await gone(beside)
    await asyncio.sleep(SETTLE_S)
    queued = {record["id"]: float(record.get("queue_s", 0.0)) for record in platform.records()}
    waits: dict[str, list[float]] = {tenant.name: [] for tenant in modest}
    refused = {tenant.name: 0 for tenant in (*modest, noisy)}
    sent = dict(refused)
    for row in load.rows:
        sent[row.tenant] += 1
        if row.status not in (0, 200):
            refused[row.tenant] += 1
        if row.tenant in waits:
            waits[row.tenant].append(row.sent - row.due + queued[row.id] if row.status == 200 else plan.seconds)
    return waits, refused, sent


async def greedy(platform: Platform, plan: Plan, number: int) -> dict[str, float]:
    """Cost of each tenant's service per second while all are backlogged."""
    load = Load(platform.port, random.Random(f"greedy {number}"))
    until = time.monotonic() + plan.warm_s + plan.greedy_s
    found: dict[str, float] = {}

    def lasts() -> bool:
        return time.monotonic() < until + plan.greedy_s

    async def watch() -> None:
        await asyncio.sleep(plan.warm_s)
        load.begin()
        begun = time.monotonic()
        await asyncio.sleep(max(0.0, until - time.monotonic()))
        seconds = time.monotonic() - begun
        for tenant in tenants():
            name = tenant.name
            found[name] = service_of(load, name) / seconds

    loads = [
        asyncio.ensure_future(
            always(load, replace(tenant, tokens=tokens), OUTSTANDING * (FLOOD if tenant.name == "flood" else 1), lasts)
        )
        for tenant, tokens in zip(tenants(), LENGTHS, strict=True)
    ]
    await watch()
    for each in loads:
        await gone(each)
    await asyncio.sleep(SETTLE_S)
    return found


async def calm(platform: Platform, rng: random.Random) -> None:
    """Until the engine has got rid of what its clients left behind: requests that wait in its own server, where no
    cancellation reaches them, are begun before it sees that nobody waits for them."""
    load, quick = Load(platform.port, rng), 0
    while quick < 3:
        row = await load.ask(tenants()[0], time.monotonic())
        quick = quick + 1 if row.done - row.sent < CALM_S else 0


def service_of(load: Load, name: str) -> float:
    cached = load.cached.get(name, 0)
    return PRICES.cost(load.read.get(name, 0) + cached, load.written.get(name, 0), cached)


async def gone(task: asyncio.Future[None]) -> None:
    """Ends a load; its clients leave."""
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


def run(plan: Plan) -> Raw:
    """Raises NotStarted."""
    raw = Raw()
    keys = [tenant.key for tenant in tenants()]
    queue = {"size": 256, "max_wait": 110.0}
    with (
        tempfile.TemporaryDirectory(prefix="penstock-noisy-") as folder,
        up(Path(folder) / "queue", keys, SLOTS, queue=queue) as fair,
        up(Path(folder) / "open", keys, SLOTS, max_in_flight=UNBOUNDED) as unqueued,
    ):
        for number in range(plan.rounds):
            rate = asyncio.run(calibrate(fair, plan.calibrate_s, random.Random(number)))
            raw.rates.append(rate)
            say(f"round {number + 1}: {rate:.2f} requests/s; each modest tenant sends {LOAD * rate / SLOTS:.2f}")
            for flooded in (False, True) if number % 2 else (True, False):
                waits, refused, sent = asyncio.run(arrivals(fair, plan, rate, number, flooded=flooded))
                (raw.flood if flooded else raw.share).append(waits)
                if flooded:
                    raw.refused.append(refused)
                    raw.offered.append(sent)
                shown = ", ".join(f"{name} {p95(values):.2f}" for name, values in waits.items())
                say(f"round {number + 1} {'flood' if flooded else 'share'}: p95 wait s: {shown}; refused {refused}")
            for platform in (fair, unqueued) if number % 2 else (unqueued, fair):
                service = asyncio.run(greedy(platform, plan, number))
                asyncio.run(calm(platform, random.Random(number)))
                (raw.greedy if platform is fair else raw.open).append(service)
                shown = ", ".join(f"{name} {value:.0f}" for name, value in service.items())
                name = "greedy" if platform is fair else "open"
                say(f"round {number + 1} {name}: cost/s: {shown}; index {jain(service.values()) or 0:.3f}")
    return raw


def figures(raw: Raw) -> dict[str, Any]:
    """What follows from the raw data."""
    found: dict[str, Any] = {
        "requests_per_s": [round(rate, 2) for rate in raw.rates],
        "rounds": len(raw.flood),
        "tenants": {},
    }
    for name in raw.flood[0]:
        share = [wait for waits in raw.share for wait in waits[name]]
        flood = [wait for waits in raw.flood for wait in waits[name]]
        found["tenants"][name] = {
            "requests": len(flood),
            "share_p95_s": round(p95(share), 4),
            "flood_p95_s": round(p95(flood), 4),
            "ratio": round(p95(flood) / p95(share), 4),
            "refused": sum(refused[name] for refused in raw.refused),
        }
    found["flood_over_modest"] = round(
        median([sent["flood"] / (sum(sent.values()) - sent["flood"]) * 3 for sent in raw.offered]), 1
    )
    found["jain"] = [round(jain(service.values()) or 0.0, 4) for service in raw.greedy]
    found["jain_without_queue"] = [round(jain(service.values()) or 0.0, 4) for service in raw.open]
    found["throughput"] = [
        round(sum(queued.values()) / sum(unqueued.values()), 4)
        for queued, unqueued in zip(raw.greedy, raw.open, strict=True)
    ]
    return found


def bars(found: dict[str, Any]) -> list[Bar]:
    worst = max(found["tenants"].items(), key=lambda each: float(each[1]["ratio"]))
    refused = sum(own["refused"] for own in found["tenants"].values())
    return [
        Bar(
            "noisy_p95_wait_over_fair_share", worst[1]["ratio"], 1.5, "ratio",
            why=f"worst of three tenants: {worst[1]['flood_p95_s']} s, {worst[1]['share_p95_s']} s with its fair share",
        ),
        Bar("noisy_modest_refused", refused, 0, "requests"),
        Bar(
            "noisy_jain_index", median(found["jain"]), 0.95, "index", "higher",
            why=f"without a queue {median(found['jain_without_queue']):.3f}",
        ),
        Bar("noisy_throughput_over_no_queue", median(found["throughput"]), 0.97, "ratio", "higher"),
    ]  # fmt: skip


def prove(*, quick: bool = False) -> Proof:
    """Raises NotStarted."""
    plan = QUICK if quick else Plan()
    raw = run(plan)
    found = figures(raw)
    return Proof(bars(found), {"plan": asdict(plan), **found}, asdict(raw))


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.limits.noisy", description=__doc__)
    parser.add_argument("--json", action="store_true", help="print figures and bars as JSON")
    parser.add_argument("--quick", action="store_true", help="one short round")
    parser.add_argument("--rounds", type=int, default=0)
    parser.add_argument("--out", type=Path, help="folder for noisy.json and raw-noisy.json")
    asked = parser.parse_args()
    plan = QUICK if asked.quick else Plan()
    if asked.rounds:
        plan = replace(plan, rounds=asked.rounds)
    try:
        raw = run(plan)
    except NotStarted as error:
        parser.error(str(error))
    found = figures(raw)
    doc = {"plan": asdict(plan), "figures": found, "bars": [bar.as_json() for bar in bars(found)]}
    if asked.out is not None:
        asked.out.mkdir(parents=True, exist_ok=True)
        (asked.out / "noisy.json").write_text(json.dumps(doc, indent=1) + "\n")
        (asked.out / "raw-noisy.json").write_text(json.dumps(asdict(raw)) + "\n")
    if asked.json:
        json.dump(doc, sys.stdout, indent=1)
    else:
        for bar in bars(found):
            shown = f"{'>=' if bar.better == 'higher' else '<='} {bar.limit} {bar.unit}"
            print(f"{bar.name}: {bar.value} {shown}: {'holds' if bar.holds else 'MISSED'} {bar.why}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
