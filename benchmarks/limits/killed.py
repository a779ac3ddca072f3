"""`kill -9` under load, and what the ledger says afterwards: `python -m benchmarks.limits.killed [--quick] [--json]`.

A platform of two workers, with tenants, limits and the ledger in SQLite, stands before an engine that keeps its own
count. While clients ask all the time, a worker is killed at random moments, and now and then the supervisor, with all
its workers or without them. Then the ledger is compared with the engine's log, request by request.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

from rich.console import Console

from benchmarks.bars import Bar, table
from benchmarks.limits.counting import MODEL
from benchmarks.limits.crowd import Asked, Crowd, Ending
from benchmarks.limits.proof import Proof
from benchmarks.limits.site import Site, engine_running, penstock
from penstock.core.record import TokenSource
from penstock.state.ledger.charge import Charge
from penstock.state.ledger.store import Span
from penstock.state.ledger.stores import open_store

ENGINE = "mock"
KILLS, QUICK_KILLS = 50, 8
WHOLE, HEAD = 5, 10
"""One kill in so many takes the supervisor with all its workers; and the supervisor alone."""
CLIENTS = 32
PAUSE_S = (0.2, 4.0)
"""Bounds of the time between two kills."""
ORG, TEAMS = "acme", ("red", "blue")
KINDS = ("input", "cached", "output", "reasoning")
Tokens: TypeAlias = tuple[int, int, int, int]
"""By kind."""
SHOWN = 20
"""Ids of each kind of fault that are kept."""


@dataclass
class Evidence:
    """What was seen of one run, from all sides."""

    asked: list[Asked]
    lines: list[dict[str, Any]]
    """The engine's log."""
    before: list[Charge]
    """The ledger before reconciliation."""
    after: list[Charge]
    reconciled: dict[str, Any]
    """What `penstock cost reconcile` printed."""
    kills: list[dict[str, Any]]
    damaged: int
    left_over: int
    """Journal files that were never shipped."""
    seconds: float


async def provoke(folder: Path, kills: int, seed: int = 1) -> Evidence:
    """One run. Raises NotStarted when the platform does not come up again."""
    log = folder / "engine.jsonl"
    chance = random.Random(seed)
    started = time.monotonic()
    async with engine_running(log) as engine:
        site = Site(folder, _config(engine))
        keys = await _tenants(site)
        await site.start()
        try:
            crowd = Crowd(site.api, keys, CLIENTS, seed)
            async with asyncio.TaskGroup() as group:
                group.create_task(crowd.run())
                done = await _kill(site, chance, kills)
                await asyncio.sleep(chance.uniform(*PAUSE_S))
                crowd.stopped = True
            await site.stop()
            await site.start()  # ships what dead workers left
            await site.shipped()
        finally:
            await site.stop()
    before = _charges(site.data)
    reconciled = await penstock(
        site.data, "cost", "reconcile", "--engine", ENGINE, "--log", str(log), "--settle", "--json", status=(0, 1)
    )
    journal = site.data / "ledger" / "journal"
    return Evidence(
        crowd.asked,
        [json.loads(line) for line in log.read_text().splitlines()],
        before,
        _charges(site.data),
        json.loads(reconciled),
        done,
        len(list(journal.glob("*.damaged"))),
        len(list(journal.glob("*.jnl"))),
        time.monotonic() - started,
    )


def _config(engine: str) -> dict[str, Any]:
    return {
        "workers": 2,
        "auth": {"tenants": True},
        "rate_limits": {"key": ["total_tokens=1G/minute", "concurrent_requests=1000"]},
        "ledger": {"enabled": True},
        "engines": [{"kind": "http", "name": ENGINE, "url": engine, "models": [MODEL], "metrics": "off"}],
    }


async def _tenants(site: Site) -> list[tuple[str, str]]:
    """Two teams with a key each: (public id, secret)."""
    await penstock(site.data, "tenant", "create", ORG)
    keys = []
    for team in TEAMS:
        await penstock(site.data, "tenant", "create", f"{ORG}/{team}")
        secret = (await penstock(site.data, "key", "create", "--org", ORG, "--team", team)).strip()
        keys.append((secret.split("-")[2], secret))
    return keys


async def _kill(site: Site, chance: random.Random, kills: int) -> list[dict[str, Any]]:
    """Kills at random moments; what and when."""
    done = []
    began = time.monotonic()
    for number in range(1, kills + 1):
        await asyncio.sleep(chance.uniform(*PAUSE_S))
        what = "supervisor" if number % HEAD == 0 else "platform" if number % WHOLE == 0 else "worker"
        done.append({"at_s": round(time.monotonic() - began, 3), "what": what})
        if what == "worker":
            await site.kill_worker(chance)
            continue
        await (site.kill_supervisor() if what == "supervisor" else site.kill())
        await site.start()
    return done


def _charges(data: Path) -> list[Charge]:
    store = open_store("", data)
    try:
        return list(store.charges(Span()))
    finally:
        store.close()


@dataclass
class Found:
    """What the evidence says."""

    faults: dict[str, list[str]]
    """Kind -> ids of the requests."""
    ledger: Tokens
    """All tokens, when reconciled."""
    engine: Tokens


def judge(seen: Evidence) -> Found:
    """Holds the ledger against what clients and the engine saw."""
    charged: dict[str, list[Charge]] = {}
    for charge in seen.before:
        charged.setdefault(charge.request_id, []).append(charge)
    lines = {line["request_id"]: line for line in seen.lines}
    sent = {asked.id: asked for asked in seen.asked}
    whole = [asked for asked in seen.asked if asked.ending is Ending.WHOLE]
    settled = {charge.request_id: charge for charge in seen.after}
    faults = {
        "whole_not_once": [
            asked.id for asked in whole if [each.outcome for each in charged.get(asked.id, [])] != ["success"]
        ],
        "whole_wrong": [
            asked.id
            for asked in whole
            if lines[asked.id]["told"]
            and {_told(asked), *map(_tokens, charged.get(asked.id, []))} != {_generated(lines[asked.id])}
        ],
        "engine_not_once": [name for name in lines if len(charged.get(name, [])) != 1],
        "twice": [name for name, charges in charged.items() if len(charges) > 1],
        "wrong_tenant": [
            name
            for name, charges in charged.items()
            if name not in sent or any((each.org, each.key) != (ORG, sent[name].key) for each in charges)
        ],
        "from_nowhere": [
            name for name, charges in charged.items() if name not in lines and any(map(sum, map(_tokens, charges)))
        ],
        "differs": [
            name for name, line in lines.items() if name not in settled or _tokens(settled[name]) != _generated(line)
        ],
    }
    return Found(faults, _sums(map(_tokens, seen.after)), _sums(map(_generated, seen.lines)))


def _sums(of: Iterable[Tokens]) -> Tokens:
    given = cached = made = reasoning = 0
    for each in of:
        given, cached, made, reasoning = given + each[0], cached + each[1], made + each[2], reasoning + each[3]
    return given, cached, made, reasoning


def _tokens(charge: Charge) -> Tokens:
    return charge.input, charge.cached, charge.output, charge.reasoning


def _generated(line: Mapping[str, Any]) -> Tokens:
    return line["prompt_tokens"], line["cached_tokens"], line["completion_tokens"], line["reasoning_tokens"]


def _told(asked: Asked) -> Tokens:
    usage = asked.usage or {}
    return (
        usage["prompt_tokens"],
        usage["prompt_tokens_details"]["cached_tokens"],
        usage["completion_tokens"],
        usage["completion_tokens_details"]["reasoning_tokens"],
    )


def bars_of(seen: Evidence, found: Found, kills: int) -> list[Bar]:
    """Everything that the ledger promises, as counts of what breaks it."""

    def none(name: str, kind: str) -> Bar:
        return Bar(f"killed.{name}", len(found.faults[kind]), 0, "requests")

    input_off, _, output_off, _ = (abs(a - b) for a, b in zip(found.ledger, found.engine, strict=True))
    return [
        Bar("killed.kills_under_load", len(seen.kills), kills, "kills", better="higher"),
        none("whole_answers_not_charged_once", "whole_not_once"),
        none("whole_answers_with_other_tokens", "whole_wrong"),
        none("requests_at_engine_not_charged_once", "engine_not_once"),
        none("requests_charged_twice", "twice"),
        none("requests_charged_to_another_tenant", "wrong_tenant"),
        none("charges_with_tokens_no_engine_made", "from_nowhere"),
        none("requests_that_differ_when_reconciled", "differs"),
        Bar("killed.input_tokens_off_when_reconciled", input_off, 0, "tokens"),
        Bar("killed.output_tokens_off_when_reconciled", output_off, 0, "tokens"),
        Bar("killed.journals_damaged_or_left", seen.damaged + seen.left_over, 0, "files"),
    ]


def prove(*, quick: bool = False) -> Proof:
    """Raises NotStarted when the platform does not come up again."""
    kills = QUICK_KILLS if quick else KILLS
    with tempfile.TemporaryDirectory(prefix="penstock-killed-") as folder:
        seen = asyncio.run(provoke(Path(folder), kills))
    found = judge(seen)
    return Proof(bars_of(seen, found, kills), figures_of(seen, found), raw_of(seen))


def figures_of(seen: Evidence, found: Found) -> dict[str, Any]:
    """What happened, in numbers; and examples of every fault."""
    log = seen.reconciled["log"]
    return {
        "seconds": round(seen.seconds, 1),
        "requests": len(seen.asked),
        "endings": _counts(asked.ending.value for asked in seen.asked),
        "errors": _counts(asked.why for asked in seen.asked if asked.ending is Ending.ERROR),
        "requests_at_engine": len(seen.lines),
        "charges": len(seen.before),
        "outcomes": _counts(charge.outcome for charge in seen.before),
        "sources": _counts(charge.source for charge in seen.before),
        "tokens_engine": dict(zip(KINDS, found.engine, strict=True)),
        "tokens_ledger_before": dict(zip(KINDS, _sums(map(_tokens, seen.before)), strict=True)),
        "tokens_ledger": dict(zip(KINDS, found.ledger, strict=True)),
        "reconciled": {name: log[name] for name in ("settled", "to_settle", "unsettled")},
        "faults": {name: ids[:SHOWN] for name, ids in found.faults.items() if ids},
    }


def raw_of(seen: Evidence) -> dict[str, Any]:
    """Every kill, and every request that the engine saw. `agreed`: id and tokens, the same on both sides at once.
    `settled`: id, outcome, source, tokens by the ledger, by the engine, and by the ledger when reconciled."""
    before = {charge.request_id: charge for charge in seen.before}
    after = {charge.request_id: charge for charge in seen.after}
    agreed, settled = [], []
    for line in seen.lines:
        name, made = line["request_id"], _generated(line)
        charge = before.get(name)
        if charge is not None and _tokens(charge) == made and charge.source == TokenSource.USAGE:
            agreed.append([name, *made])
        elif charge is not None:
            settled.append([name, charge.outcome, charge.source, _tokens(charge), made, _tokens(after[name])])
    return {"kills": seen.kills, "kinds": KINDS, "agreed": agreed, "settled": settled}


def _counts(values: Iterable[str]) -> dict[str, int]:
    return dict(Counter(values).most_common(SHOWN))


def main(arguments: Sequence[str]) -> int:
    asking = argparse.ArgumentParser(prog="python -m benchmarks.limits.killed", description=__doc__)
    asking.add_argument("--quick", action="store_true", help=f"{QUICK_KILLS} kills instead of {KILLS}")
    asking.add_argument("--json", action="store_true", help="print bars and raw data as JSON")
    asked = asking.parse_args(arguments)
    proof = prove(quick=asked.quick)
    bars = [bar.as_json() for bar in proof.bars]
    if asked.json:
        json.dump({"quick": asked.quick, "bars": bars, "figures": proof.figures, "raw": proof.raw}, sys.stdout)
        print()
    else:
        console = Console(width=None if sys.stdout.isatty() else 160)
        console.print(table([("limits", bar) for bar in bars]))
        console.print_json(json.dumps(proof.figures))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
