"""A whole run: fleets of real engines one after the other, every gateway in front of each, rounds interleaved."""

from __future__ import annotations

import asyncio
import datetime
import itertools
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, astuple, dataclass
from pathlib import Path
from typing import Any

from benchmarks.gateway.gateways import NotStarted
from benchmarks.gateway.session import machine, say
from benchmarks.routing import fronts, workloads
from benchmarks.routing.drive import Row, drive
from benchmarks.routing.engines import (
    FLEETS,
    MODEL,
    Counted,
    Engine,
    Fleet,
    absent,
    counters,
    idle,
    quick_model,
    running,
)
from benchmarks.routing.fronts import Front, started
from benchmarks.routing.workloads import OUT_TOKENS, Workload

OPEN_SHARE = 0.7
"""Offered rate of an open loop, of what the engines did in a closed loop with requests in turn."""
LEAST_ROUNDS = 3
CELL_S = 300.0
"""A cell that takes longer is given up."""
QUICK_FRONTS = ("penstock", "penstock-round_robin")
QUICK_WORKLOADS = ("shared_system", "skewed_prefix")
ON_VLLM = ("multi_turn", "shared_system", "shared_open")
FLEET_SHARE = {"llamacpp": 0.55, "vllm": 1.0}
"""A further round of a fleet begins only while it would end within this share of the minutes."""


@dataclass(frozen=True, slots=True)
class Options:
    quick: bool = False
    only: Sequence[str] = ()
    workloads: Sequence[str] = ()
    engines: Sequence[str] = ()
    rounds: int = 0
    """0: three, and more while they fit into `minutes`; with `quick` one."""
    minutes: float = 24.0
    model: Path | None = None


@dataclass(slots=True)
class Cell:
    """One workload through one gateway, once."""

    fleet: str
    workload: str
    gateway: str
    round: int
    seconds: float = 0.0
    rate: float = 0.0
    """Offered, requests/s; 0 in a closed loop."""
    served: Sequence[float] = ()
    """Requests per engine in steady state."""
    served_by: str = "counters"
    """`header`: the gateway told; `counters`: from the engines' tokens."""
    cached_tokens: float = 0.0
    """By the engines' counters, like the next."""
    prompt_tokens: float = 0.0


def run(options: Options) -> dict[str, Any]:
    """The raw data. Raises ValueError for an unknown name."""
    _check(options)
    raw: dict[str, Any] = {
        "when": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "machine": machine(), "quick": options.quick, "absent": {}, "versions": {}, "fleets": {}, "rates": {},
        "cells": [], "requests": [],
    }  # fmt: skip
    begun = time.monotonic()
    wanted = options.engines or (("llamacpp",) if options.quick else [fleet.kind for fleet in FLEETS])
    with tempfile.TemporaryDirectory(prefix="penstock-bench-") as folder:
        for fleet in FLEETS:
            if fleet.kind not in wanted:
                continue
            why = absent(fleet)
            try:
                if not why:
                    say(f"starting {fleet.label}")
                    model = options.model or quick_model()
                    with running(fleet, Path(folder), model) as engines:
                        raw["fleets"][fleet.kind] = f"{fleet.label}{_of(fleet, model)}"
                        Session(raw, options, fleet, engines, Path(folder), begun).run()
            except (NotStarted, OSError) as error:
                why = str(error)
            if why:
                raw["absent"][fleet.kind] = why
                say(f"{fleet.kind}: {why}")
    raw["seconds"] = round(time.monotonic() - begun, 1)
    return raw


def _of(fleet: Fleet, model: Path) -> str:
    return f", {model.stem}" if fleet.kind == "llamacpp" else ", SmolLM2-135M-Instruct in bfloat16"


def _check(options: Options) -> None:
    for asked, known in (
        (options.only, list(fronts.known())),
        (options.workloads, list(workloads.known())),
        (options.engines, [fleet.kind for fleet in FLEETS]),
    ):
        if unknown := set(asked) - set(known):
            raise ValueError(f"unknown: {', '.join(sorted(unknown))}; known: {', '.join(known)}")


class Session:
    """All rounds in front of one fleet. Adds to `raw`."""

    def __init__(
        self, raw: dict[str, Any], options: Options, fleet: Fleet, engines: Sequence[Engine], folder: Path, begun: float
    ) -> None:
        self._raw = raw
        self._options = options
        self._fleet = fleet
        self._engines = engines
        self._folder = folder
        self._begun = begun
        names = options.only or (QUICK_FRONTS if options.quick else fronts.known())
        self._fronts = [front for name, front in fronts.known().items() if name in names]
        every = workloads.known(0.5 if options.quick else 1.0, len(engines))
        chosen = options.workloads or (QUICK_WORKLOADS if options.quick else every)
        here = [name for name in every if name in chosen and (fleet.kind != "vllm" or name in ON_VLLM)]
        self._workloads = [every[name] for name in here]
        self._rates: dict[str, float] = raw["rates"].setdefault(fleet.kind, {})

    def run(self) -> None:
        """Raises OSError when an engine died."""
        self._introduce()
        for (
            workload
        ) in self._workloads:  # those of closed loops too: the first cell is not to meet engines that are cold
            rate = asyncio.run(self._calibrate(workload))
            if workload.loop == "open":
                self._rates[workload.name] = rate
        longest = 0.0
        for number in itertools.count():
            since = time.monotonic()
            if not self._again(number, since + longest):
                return
            # Each round begins with another gateway, so that none always comes first.
            turn = number % max(1, len(self._fronts))
            for front in [*self._fronts[turn:], *self._fronts[:turn]]:
                if f"{front.name} on {self._fleet.kind}" not in self._raw["absent"]:
                    self._front(front, number)
            longest = max(longest, time.monotonic() - since)

    def _again(self, number: int, ends: float) -> bool:
        if self._options.rounds or self._options.quick:
            return number < (self._options.rounds or 1)
        share = FLEET_SHARE[self._fleet.kind] * self._options.minutes * 60
        return number < LEAST_ROUNDS or ends - self._begun < share

    def _introduce(self) -> None:
        for front in self._fronts:
            if why := front.missing():
                self._raw["absent"][f"{front.name} on {self._fleet.kind}"] = why
            self._raw["versions"][front.name] = front.version()

    async def _calibrate(self, workload: Workload) -> float:
        """Requests/s to offer, from a closed loop over the engines in turn without a gateway."""
        turns = itertools.cycle(self._engines)
        closed = Workload(workload.name, "closed", workload.dose, workload.make, 2 * len(self._engines))
        rows, seconds = await drive(closed, closed.jobs(0, "calibration"), lambda: next(turns).port, MODEL)
        rate = round(OPEN_SHARE * len(rows) / seconds, 3)
        say(f"{self._fleet.kind} {workload.name}: {len(rows) / seconds:.2f} requests/s in turn")
        return rate

    def _front(self, front: Front, number: int) -> None:
        folder = self._folder / f"{self._fleet.kind}-{front.name}-{number}"
        try:
            with started(front, self._engines, folder) as port:
                for workload in self._workloads:
                    asyncio.run(self._cell(front, port, workload, number))
        except NotStarted as error:
            self._raw["absent"][f"{front.name} on {self._fleet.kind}"] = f"did not start: {error}"
            say(str(error))

    async def _cell(self, front: Front, port: int, workload: Workload, number: int) -> None:
        """Raises OSError when an engine's counters cannot be read."""
        cell = Cell(self._fleet.kind, workload.name, front.name, number, rate=self._rates.get(workload.name, 0.0))
        # The same jobs for every gateway of a round; the salt alone differs.
        salt = f"{time.time_ns() % 16**8:08x}"
        jobs = workload.jobs(number + 1, salt, cell.rate or 1.0)
        await idle(self._engines)
        before = await counters(self._engines)
        marked = before

        async def mark() -> None:
            nonlocal marked
            marked = await counters(self._engines)

        try:
            async with asyncio.timeout(CELL_S):
                rows, seconds = await drive(workload, jobs, lambda: port, MODEL, mark)
        except TimeoutError:
            self._raw["absent"][f"{front.name} on {cell.fleet}, {cell.workload}, round {number}"] = "took too long"
            return
        await idle(self._engines)
        after = await counters(self._engines)
        cell.seconds = round(seconds, 3)
        cell.cached_tokens = sum(each.cached_tokens for each in after) - sum(each.cached_tokens for each in before)
        cell.prompt_tokens = sum(each.prompt_tokens for each in after) - sum(each.prompt_tokens for each in before)
        cell.served_by, cell.served = served(
            rows[int(len(rows) * workload.steady_from) :], self._engines, marked, after
        )
        index = len(self._raw["cells"])
        self._raw["cells"].append(asdict(cell))
        self._raw["requests"] += [[index, *astuple(each)] for each in rows]
        say(f"round {number + 1} {cell.fleet} {front.name} {cell.workload}: {summary(rows)}, {cell.seconds:.1f} s")


def served(
    rows: Sequence[Row], engines: Sequence[Engine], before: Sequence[Counted], after: Sequence[Counted]
) -> tuple[str, list[float]]:
    """Requests per engine: from the gateway's header where every answer has it, else from the engines' counters."""
    by_header = Counter(each.engine for each in rows)
    if rows and not by_header.keys() - {engine.name for engine in engines}:
        return "header", [float(by_header[engine.name]) for engine in engines]
    spent = [(late.out_tokens - early.out_tokens) / OUT_TOKENS for early, late in zip(before, after, strict=True)]
    return "counters", [round(each, 2) for each in spent]


def summary(rows: Sequence[Row]) -> str:
    done = sorted(each.ttft_s for each in rows if each.ttft_s is not None)
    failed = len(rows) - len(done)
    middle = f"TTFT p50 {done[len(done) // 2]:.2f} s" if done else "no answer"
    cached = sum(each.cached_tokens for each in rows) / max(1, sum(each.prompt_tokens for each in rows))
    why = next((f" ({each.error})" for each in rows if each.error), "")
    return f"{middle}, {cached:.0%} of prompts cached, {len(rows)} requests" + (
        f", {failed} failed{why}" * bool(failed)
    )
