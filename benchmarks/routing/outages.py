"""What clients see while an engine is killed, paused, slowed down or full: real llama.cpp and vLLM engines behind
`penstock up` with its default settings.

A few clients ask without a pause; each fault lasts a while and ends, and the engine is waited for until it answers
again. A request is retriable until its first byte has reached the client; after that an answer that breaks off is told
so and never made again.
"""

from __future__ import annotations

import asyncio
import json
import random
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import replace
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks.bars import Bar
from benchmarks.gateway.gateways import ROOT, NotStarted
from benchmarks.gateway.session import say
from benchmarks.limits.proof import Proof
from benchmarks.routing.client import Answer, ask
from benchmarks.routing.engines import FLEETS, MODEL, Engine, Fleet, absent, get, quick_model, restart, running
from benchmarks.routing.faults import FAULTS, Victim
from benchmarks.routing.fronts import Front, admin_url, penstock, started
from benchmarks.routing.workloads import OUT_TOKENS, prompt, words

AT_ONCE = 8
PROMPTS, PROMPT_WORDS, TAIL_WORDS = 4, 60, 8
OWN = 1 / 8
"""Part of the requests with a system prompt that nobody else has. While an engine is away the others learn its prompts,
and where they share a machine nothing but a new one is a reason to ask it again."""
BEFORE, AFTER = 60, 40
"""Answers before a fault and after the engine is back."""
FAULT_S, QUICK_FAULT_S = 15.0, 12.0
PATIENCE_S = 90.0
"""For the engine to answer again."""
RECOVERY_S = 30.0
"""Bound on that: an engine that failed is left alone for 5 s, then 10, and gets its share of new requests after 10."""
AMPLIFICATION = 1.1
KV_BLOCKS, RUNNING = 88, 32
"""Blocks of 32 tokens in a vLLM that is to be filled, and how many requests may run there: more than fit."""
FULL = 0.9
"""Of a KV cache in use, from which on it counts as full."""
LOOK_S = 1.0
RECORDS = 1000
"""The most that the gateway hands out at once."""


SMALL_KV = replace(FLEETS[1], flags=("--num-gpu-blocks-override", str(KV_BLOCKS), "--max-num-seqs", str(RUNNING)))


class Load:
    """Clients that ask one request after the other."""

    def __init__(self, port: int, name: str) -> None:
        self.answers: list[Answer] = []
        self._port = port
        self._name = name
        self._over = asyncio.Event()

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Asks while the body runs; leaves when every answer has come."""
        systems = [prompt(random.Random(f"{self._name} {n}"), f"{self._name}{n}", PROMPT_WORDS) for n in range(PROMPTS)]
        async with asyncio.TaskGroup() as tasks:
            for number in range(AT_ONCE):
                tasks.create_task(self._client(random.Random(f"{self._name} client {number}"), systems))
            try:
                yield
            finally:
                self._over.set()

    async def _client(self, rng: random.Random, systems: Sequence[str]) -> None:
        while not self._over.is_set():
            system = prompt(rng, self._name, PROMPT_WORDS) if rng.random() < OWN else rng.choice(systems)
            messages = [
                {"role": "system", "content": system},
                {"role": "user", "content": words(rng, TAIL_WORDS)},
            ]
            self.answers.append(await ask(self._port, MODEL, messages))

    async def more(self, count: int) -> None:
        """Waits for so many further answers."""
        goal = len(self.answers) + count
        await until(lambda: len(self.answers) >= goal, PATIENCE_S)


async def until(holds: Callable[[], bool], within_s: float) -> None:
    """Raises NotStarted when it does not hold in time."""
    end = time.monotonic() + within_s
    while not holds():
        if time.monotonic() > end:
            raise NotStarted(f"not within {within_s:g} s")
        await asyncio.sleep(0.02)


def prove(*, quick: bool = False) -> Proof:
    """Raises NotStarted."""
    raw: dict[str, Any] = {}
    fleets = (FLEETS[0], SMALL_KV)
    if why := next(filter(None, map(absent, fleets)), ""):
        raise NotStarted(why)
    for fleet in fleets:
        with tempfile.TemporaryDirectory(prefix="penstock-outages-") as name:
            raw |= _befallen(fleet, Path(name), QUICK_FAULT_S if quick else FAULT_S)
    figures = {fault: told(found) for fault, found in raw.items()}
    return Proof(bars(figures), figures, raw)


def _befallen(fleet: Fleet, folder: Path, lasting_s: float) -> dict[str, dict[str, Any]]:
    """What `outage` tells of each fault that may happen to engines of this fleet."""
    front = Front("penstock", "", penstock("balanced", records=RECORDS), environment={"PYTHONPATH": str(ROOT / "src")})
    model = quick_model()
    found = {}
    with running(fleet, folder, model) as engines:
        for number, (fault, begin) in enumerate(FAULTS[fleet.kind].items()):
            own = folder / fault
            victim = engines[number % len(engines)]

            def again(victim: Engine = victim) -> None:
                restart(victim, folder, model, fleet)

            with started(front, engines, own) as port:
                load = Load(port, fault)
                found[fault] = _run(outage(load, begin(Victim(victim, again)), victim, admin_url(own), lasting_s))
            say(f"{fault}: {told(found[fault])}")
    return found


def _run(outage: Coroutine[Any, Any, dict[str, Any]]) -> dict[str, Any]:
    """Raises NotStarted, also from inside groups of tasks."""
    try:
        return asyncio.run(outage)
    except BaseExceptionGroup as errors:
        if (own := errors.subgroup(NotStarted)) is None:
            raise
        leaf: BaseException = own
        while isinstance(leaf, BaseExceptionGroup):
            leaf = leaf.exceptions[0]
        raise leaf from errors


async def outage(
    load: Load, fault: AbstractAsyncContextManager[None], victim: Engine, admin: str, lasting_s: float
) -> dict[str, Any]:
    """One fault under load: the answers, the gateway's Records of them, and when what was."""
    epoch = time.time() - time.monotonic()
    since = time.monotonic()
    async with load.running():
        await load.more(BEFORE)
        begun = time.monotonic()
        async with fault:
            seen = await _watched(admin, victim.name, begun + lasting_s)
            ended = time.monotonic()
        repaired = time.monotonic()

        def back() -> bool:
            return any(a.ok and a.engine == victim.name and a.sent > ended for a in load.answers)

        await until(back, PATIENCE_S)
        recovered = time.monotonic()
        await load.more(AFTER)
    await asyncio.sleep(1.0)  # answers are booked a moment after they are sent
    records = [r for r in await asyncio.to_thread(_records, admin) if r["time"] >= since + epoch - 0.01]
    return {
        "victim": victim.name,
        "lasted_s": round(ended - begun, 3),
        "repair_s": round(repaired - ended, 3),
        "recovery_s": round(recovered - repaired, 3),
        "seen": seen,
        "answers": [_row(answer, begun, ended) for answer in load.answers],
        "records": [_tries(record) for record in records],
    }


def _row(answer: Answer, begun: float, ended: float) -> dict[str, Any]:
    """Seconds count from the fault."""
    return {
        "sent_s": round(answer.sent - begun, 3),
        "ttft_s": round(answer.first - answer.sent, 3) if answer.first else None,
        "done_s": round(answer.done - begun, 3),
        "engine": answer.engine,
        "tokens": answer.out_tokens,
        "during": begun <= answer.sent < ended,
        "error": "" if answer.ok else answer.error or f"status {answer.status}",
    }


def _tries(record: Mapping[str, Any]) -> dict[str, Any]:
    return {"ttft_s": record.get("ttft_s"), "attempts": record.get("attempts", []), "error": record.get("error", "")}


def _records(admin: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(get(f"{admin}/admin/requests?limit={RECORDS}"))["requests"]
    return found


async def _watched(admin: str, name: str, until_s: float) -> list[dict[str, Any]]:
    """What the gateway knows of an engine's load, again and again."""
    seen = []
    while (left_s := until_s - time.monotonic()) > 0:
        await asyncio.sleep(min(LOOK_S, left_s))
        seen.append(await asyncio.to_thread(_engine, admin, name))
    return seen


def _engine(admin: str, name: str) -> dict[str, Any]:
    rows = json.loads(get(f"{admin}/admin/engines"))["engines"]
    load = next((row.get("load") or {} for row in rows if row["name"] == name), {})
    return {key: load.get(key) for key in ("running", "waiting", "kv_utilisation", "preemptions")}


def told(found: Mapping[str, Any]) -> dict[str, Any]:
    """What follows from one fault's rows."""
    answers, records = found["answers"], found["records"]
    during = [each for each in answers if each["during"] and not each["error"]]
    tries = [(record["ttft_s"], attempt) for record in records for attempt in record["attempts"]]
    at_victim = sum(each["engine"] == found["victim"] for each in during)
    return {
        "requests": len(answers),
        "recorded": len(records),
        "unanswered": sum(bool(each["error"]) and each["ttft_s"] is None for each in answers),
        "cut_after_first_byte": sum(bool(each["error"]) and each["ttft_s"] is not None for each in answers),
        "wrong_length": sum(not each["error"] and each["tokens"] != OUT_TOKENS for each in answers),
        "attempts": len(tries),
        "failed_attempts": sum(bool(attempt.get("error")) for _, attempt in tries),
        "tries_after_first_byte": sum(ttft is not None and attempt["started_s"] >= ttft for ttft, attempt in tries),
        "victims_share": round(at_victim / len(during), 3) if during else None,
        "slowest_ttft_s": max((each["ttft_s"] for each in during), default=None),
        "repair_s": found["repair_s"],
        "recovery_s": found["recovery_s"],
        "kv_utilisation": _middle(found["seen"]),
        "preemptions": _added(found["seen"]),
    }


def _middle(seen: Sequence[Mapping[str, Any]]) -> float | None:
    """The KV cache's use: half of the looks found more. None of an engine that does not tell."""
    told = [look["kv_utilisation"] for look in seen if look["kv_utilisation"] is not None]
    return round(median(told), 4) if told else None


def _added(seen: Sequence[Mapping[str, Any]]) -> float | None:
    counted = [look["preemptions"] for look in seen if look["preemptions"] is not None]
    return counted[-1] - counted[0] if counted else None


def bars(figures: Mapping[str, Mapping[str, Any]]) -> list[Bar]:
    """`figures`: fault -> what `told` says."""
    made = [
        Bar(
            f"outage_{fault}_unanswered",
            of["unanswered"],
            0,
            "retriable requests",
            why=f"of {of['requests']}; {of['cut_after_first_byte']} broke off after their first byte; slowest TTFT "
            f"{of['slowest_ttft_s']} s, {of['victims_share']:.0%} from that engine meanwhile"
            if of["victims_share"] is not None
            else f"of {of['requests']}; none answered meanwhile",
        )
        for fault, of in figures.items()
    ]
    slowest = max(figures, key=lambda fault: figures[fault]["recovery_s"])
    worst = max(figures, key=lambda fault: _amplified(figures[fault]))
    every = list(figures.values())
    full = figures.get("filled", {})
    return [
        *made,
        Bar(
            "outage_filled_kv_utilisation", full.get("kv_utilisation"), FULL, "share of the KV cache", "higher",
            why=f"in the middle of the fault; {full.get('preemptions') or 0:g} requests were put back",
        ),
        Bar("outage_recovery_s", figures[slowest]["recovery_s"], RECOVERY_S, "s until it answers again", why=slowest),
        Bar("outage_retry_amplification", round(_amplified(figures[worst]), 4), AMPLIFICATION, "tries", why=worst),
        Bar("outage_tries_after_first_byte", sum(of["tries_after_first_byte"] for of in every), 0, "tries"),
        Bar("outage_answers_of_wrong_length", sum(of["wrong_length"] for of in every), 0, "answers"),
        Bar("outage_requests_without_record", sum(of["requests"] - of["recorded"] for of in every), 0, "requests"),
    ]  # fmt: skip


def _amplified(of: Mapping[str, Any]) -> float:
    """Tries per request."""
    return float(of["attempts"] / max(1, of["requests"]))
