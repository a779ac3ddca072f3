"""`kill -9` under load, and what the ledger says afterwards: `python -m benchmarks.limits.killed [--quick] [--json]`.

A platform of two workers, with tenants, limits and the ledger in SQLite, stands before an engine that keeps its own
count. While clients ask all the time, a worker is killed at random moments, and now and then the supervisor with all
its workers. Then the ledger is compared with the engine's log, request by request.
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
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console

from benchmarks.bars import Bar, table
from benchmarks.limits.counting import MODEL
from benchmarks.limits.crowd import Asked, Crowd, Ending
from benchmarks.limits.site import Site, engine_running, penstock
from penstock.state.ledger.charge import Charge
from penstock.state.ledger.entries import INTERRUPTED
from penstock.state.ledger.store import Span
from penstock.state.ledger.stores import open_store

ENGINE = "mock"
KILLS, QUICK_KILLS = 50, 8
EVERY = 5
"""One kill in so many takes the supervisor with all its workers."""
CLIENTS = 32
PAUSE_S = (0.2, 4.0)
"""Bounds of the time between two kills."""
TEAMS = ("red", "blue")
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
    """One run. Raises RuntimeError when the platform does not come up again."""
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
    await penstock(site.data, "tenant", "create", "acme")
    keys = []
    for team in TEAMS:
        await penstock(site.data, "tenant", "create", f"acme/{team}")
        secret = (await penstock(site.data, "key", "create", "--org", "acme", "--team", team)).strip()
        keys.append((secret.split("-")[2], secret))
    return keys


async def _kill(site: Site, chance: random.Random, kills: int) -> list[dict[str, Any]]:
    """Kills at random moments; what and when."""
    done = []
    began = time.monotonic()
    for number in range(1, kills + 1):
        await asyncio.sleep(chance.uniform(*PAUSE_S))
        whole = number % EVERY == 0
        done.append({"at_s": round(time.monotonic() - began, 3), "what": "platform" if whole else "worker"})
        if whole:
            await site.kill()
            await site.start()
        else:
            await site.kill_worker(chance)
    return done


def _charges(data: Path) -> list[Charge]:
    store = open_store("", data)
    try:
        return list(store.charges(Span()))
    finally:
        store.close()


def judge(seen: Evidence) -> dict[str, Any]:
    """What is wrong, by kind: lists of request ids; and the sums on both sides."""
    charged: dict[str, list[Charge]] = {}
    for charge in seen.before:
        charged.setdefault(charge.request_id, []).append(charge)
    lines = {line["request_id"]: line for line in seen.lines}
    whole = [asked for asked in seen.asked if asked.ending is Ending.WHOLE]
    sent = {asked.id: asked for asked in seen.asked}
    settled = {charge.request_id: charge for charge in seen.after}
    return {
        "whole_not_once": [asked.id for asked in whole if len(charged.get(asked.id, [])) != 1],
        "whole_wrong": [
            asked.id
            for asked in whole
            if lines[asked.id]["told"] and [_tokens(each) for each in charged.get(asked.id, [])] != [_told(asked)]
        ],
        "whole_not_success": [
            asked.id for asked in whole if [each.outcome for each in charged.get(asked.id, [])] != ["success"]
        ],
        "engine_not_once": [name for name in lines if len(charged.get(name, [])) != 1],
        "twice": [name for name, charges in charged.items() if len(charges) > 1],
        "twice_at_engine": [
            name for name, count in Counter(line["request_id"] for line in seen.lines).items() if count > 1
        ],
        "strangers": [name for name in charged if name not in sent],
        "wrong_tenant": [
            name
            for name, charges in charged.items()
            if name in sent and any((each.org, each.key) != ("acme", sent[name].key) for each in charges)
        ],
        "tokens_without_engine": [
            name for name, charges in charged.items() if name not in lines and any(map(sum, map(_tokens, charges)))
        ],
        "differ_when_reconciled": [
            name for name, line in lines.items() if name not in settled or _tokens(settled[name]) != _generated(line)
        ],
        "ledger": [sum(each) for each in zip(*map(_tokens, seen.after), strict=True)],
        "engine": [sum(each) for each in zip(*map(_generated, seen.lines), strict=True)],
    }


def _tokens(charge: Charge) -> tuple[int, int, int, int]:
    return charge.input, charge.cached, charge.output, charge.reasoning


def _generated(line: Mapping[str, Any]) -> tuple[int, int, int, int]:
    return line["prompt_tokens"], line["cached_tokens"], line["completion_tokens"], line["reasoning_tokens"]


def _told(asked: Asked) -> tuple[int, int, int, int]:
    usage = asked.usage or {}
    return (
        usage["prompt_tokens"],
        usage["prompt_tokens_details"]["cached_tokens"],
        usage["completion_tokens"],
        usage["completion_tokens_details"]["reasoning_tokens"],
    )


def bars_of(seen: Evidence, found: Mapping[str, Any], kills: int) -> list[Bar]:
    """Everything that the ledger promises, as counts of what breaks it."""

    def none(name: str, *kinds: str) -> Bar:
        return Bar(f"killed.{name}", sum(len(found[kind]) for kind in kinds), 0, "requests")

    input_off, _, output_off, _ = (abs(a - b) for a, b in zip(found["ledger"], found["engine"], strict=True))
    return [
        Bar("killed.kills", len(seen.kills), kills, "kills", better="higher"),
        none("whole_answers_not_charged_once", "whole_not_once", "whole_not_success"),
        none("whole_answers_with_other_tokens", "whole_wrong"),
        none("requests_at_engine_not_charged_once", "engine_not_once"),
        none("requests_charged_twice", "twice"),
        none("requests_charged_to_another_tenant", "wrong_tenant", "strangers"),
        none("charges_with_tokens_no_engine_made", "tokens_without_engine"),
        none("requests_that_differ_when_reconciled", "differ_when_reconciled"),
        Bar("killed.input_tokens_off_when_reconciled", input_off, 0, "tokens"),
        Bar("killed.output_tokens_off_when_reconciled", output_off, 0, "tokens"),
        Bar("killed.journals_damaged_or_left", seen.damaged + seen.left_over, 0, "files"),
    ]


def prove(*, quick: bool = False) -> tuple[list[Bar], dict[str, Any]]:
    """Runs the proof; its bars, and the raw data behind them."""
    kills = QUICK_KILLS if quick else KILLS
    with tempfile.TemporaryDirectory(prefix="penstock-killed-") as folder:
        seen = asyncio.run(provoke(Path(folder), kills))
    found = judge(seen)
    return bars_of(seen, found, kills), _raw(seen, found)


def _raw(seen: Evidence, found: Mapping[str, Any]) -> dict[str, Any]:
    log = seen.reconciled["log"]
    return {
        "seconds": round(seen.seconds, 1),
        "kills": seen.kills,
        "requests": len(seen.asked),
        "endings": dict(Counter(asked.ending.value for asked in seen.asked)),
        "errors": dict(Counter(asked.why for asked in seen.asked if asked.ending is Ending.ERROR).most_common(SHOWN)),
        "engine_requests": len(seen.lines),
        "charges": len(seen.before),
        "outcomes": dict(Counter(charge.outcome for charge in seen.before)),
        "sources": dict(Counter(charge.source for charge in seen.before)),
        "interrupted": sum(charge.outcome == INTERRUPTED for charge in seen.before),
        "tokens_ledger": dict(zip(("input", "cached", "output", "reasoning"), found["ledger"], strict=True)),
        "tokens_engine": dict(zip(("input", "cached", "output", "reasoning"), found["engine"], strict=True)),
        "reconciled": {name: log[name] for name in ("sums", "settled", "to_settle", "unsettled")},
        "faults": {
            name: {"count": len(ids), "ids": ids[:SHOWN]}
            for name, ids in found.items()
            if name not in ("ledger", "engine") and ids
        },
    }


def main(arguments: Sequence[str]) -> int:
    asking = argparse.ArgumentParser(prog="python -m benchmarks.limits.killed", description=__doc__)
    asking.add_argument("--quick", action="store_true", help=f"{QUICK_KILLS} kills instead of {KILLS}")
    asking.add_argument("--json", action="store_true", help="print bars and raw data as JSON")
    asked = asking.parse_args(arguments)
    bars, raw = prove(quick=asked.quick)
    document = {"quick": asked.quick, "bars": [bar.as_json() for bar in bars], **raw}
    if asked.json:
        json.dump(document, sys.stdout, indent=1)
        print()
    else:
        Console().print(table([("limits", bar.as_json()) for bar in bars]))
        Console().print_json(json.dumps(raw))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
