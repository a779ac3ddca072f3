"""Three times the throughput at an equal p95: the same engines run as people first run them, and as Penstock runs them.

Both have as many engines, threads and tokens of context, and the same model. p95 is that of whole requests, from when
they were due. Its bound is twice the median time of a request that is alone on the naive engines.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

import uvloop

from benchmarks.bars import Bar
from benchmarks.bench.equal import Ratio, crossing, middle, next_rate, ratio
from benchmarks.bench.stand import Setup, Stand, Trial, standing
from benchmarks.bench.support import WHAT, Deck, questions
from benchmarks.gateway.gateways import NotStarted
from benchmarks.gateway.session import say
from benchmarks.limits.proof import Proof
from benchmarks.routing.engines import CACHE_MIB, CONTEXT_TOKENS, MODEL, Engine, quick_model
from penstock.bench.client.crew import Crew
from penstock.bench.client.probe import Probe
from penstock.bench.client.settings import Server
from penstock.bench.traffic.prompts import Prompts

ENGINES = 4
STEPS = (
    Setup("naive", "one request at a time per engine, no prefix cache, requests in turn", 1, False, "round_robin"),
    Setup("prefix cache", f"the prefix cache of each engine: its slot and {CACHE_MIB} MiB", 1, True, "round_robin"),
    Setup("routing", "Penstock's default policy", 1, True, "balanced"),
    Setup("optimised", "Penstock's queue and lanes before full engines", 1, True, "balanced", 1),
)
NAIVE, OPTIMISED = STEPS[0], STEPS[-1]
BESIDE = Setup("two slots", "2 slots per engine, decoded together", 2, True, "balanced", 2)
"""What might be thought to help besides. A slot's cache serves one request at a time: another with the same prompt, in
the other slot, reads it anew, and holds up what is decoded beside it."""
BAR = 3.0
TIMES_LONE = 2.0
SECONDS, STEP_SECONDS, QUICK_SECONDS = 40.0, 30.0, 15.0
"""Of a trial. It must be long beside the bound: a short burst may be late by little at any rate."""
MOST = 7
"""Trials of one setup in one round."""
MINUTES, QUICK_MINUTES = 32.0, 1.0
WARM = 4
"""Requests for each client before the first trial, twice; the second time the answers per second are counted."""
LONE = 8
"""Requests one after the other, whose median is the bound's measure."""
FIRST = {"naive": 0.6, "optimised": 0.5}
"""The first rate tried, of those answers per second."""


def prove(*, quick: bool = False) -> Proof:
    """Raises NotStarted."""
    model = quick_model()
    seconds = QUICK_SECONDS if quick else SECONDS
    until = time.monotonic() + 60 * (QUICK_MINUTES if quick else MINUTES)
    with tempfile.TemporaryDirectory(prefix="penstock-three-x-") as name:
        folder = Path(name)
        with (
            standing(NAIVE, ENGINES, folder, model) as (slow, engines),
            standing(OPTIMISED, ENGINES, folder, model) as (fast, _),
            _counter(engines) as prompts,
        ):
            found = uvloop.run(_rounds({NAIVE: slow, OPTIMISED: fast}, prompts, until, seconds))
        rate = between(found["knees"])
        steps: list[Trial] = []
        for setup in (*STEPS, BESIDE) if rate else ():
            with standing(setup, ENGINES, folder, model) as (port, engines), _counter(engines) as prompts:
                steps.append(uvloop.run(_step(setup, port, prompts, rate, min(seconds, STEP_SECONDS))))
    return judged({**found, "seconds": seconds, "steps": [asdict(each) for each in steps]}, model.stem)


@contextmanager
def _counter(engines: Sequence[Engine]) -> Iterator[Prompts]:
    """Makes prompts by an engine's own tokenizer."""
    probe = Probe(Server("127.0.0.1", engines[0].port))
    try:
        yield Prompts(probe.counter(MODEL))
    finally:
        probe.close()


async def _rounds(ports: Mapping[Setup, int], prompts: Prompts, until: float, seconds: float) -> dict[str, Any]:
    """Rounds of both setups while another fits before `until`. Raises NotStarted when lone requests fail."""
    async with Crew(1) as crew:
        stands = [Stand(setup, port, crew, Deck(questions(MODEL, prompts))) for setup, port in ports.items()]
        # The naive one last: engines that stand idle for a minute lose pages to the system, and get them back slowly.
        starts = {stand.setup.name: FIRST[stand.setup.name] * await _warmed(stand) for stand in reversed(stands)}
        _, lone = await stands[0].closed(1, LONE)
        if lone == float("inf"):
            raise NotStarted("the engines answer with errors")
        bound = TIMES_LONE * lone
        say(f"a lone request takes {lone:.2f} s, the bound is {bound:.2f} s")
        trials: list[Trial] = []
        knees: list[dict[str, float | None]] = []
        longest = 0.0
        while not knees or time.monotonic() + longest < until:
            since, number = time.monotonic(), len(knees)
            found: dict[str, float | None] = {}
            # Each round begins with the other setup, so that none always comes first.
            for stand in stands if number % 2 else reversed(stands):
                name = stand.setup.name
                await _warmed(stand)
                own = await _search(stand, number, starts[name], bound, seconds)
                trials += own
                found[name] = crossing([each.point for each in own], bound)
                starts[name] = found[name] or starts[name]
            knees.append(found)
            longest = max(longest, time.monotonic() - since)
    return {"bound_s": bound, "lone_s": lone, "knees": knees, "trials": [asdict(each) for each in trials]}


async def _warmed(stand: Stand) -> float:
    """Answers per second of as many clients as all engines decode, once the prompts are known and the memory is in."""
    clients = ENGINES * stand.setup.slots
    await stand.closed(clients, WARM * clients)
    rate, _ = await stand.closed(clients, WARM * clients)
    return rate


async def _search(stand: Stand, number: int, start: float, bound: float, seconds: float) -> list[Trial]:
    trials: list[Trial] = []
    while (rate := next_rate([each.point for each in trials], start, bound, MOST)) is not None:
        trials.append(await stand.trial(number, rate, seconds))
        say(told(trials[-1]))
    return trials


async def _step(setup: Setup, port: int, prompts: Prompts, rate: float, seconds: float) -> Trial:
    async with Crew(1) as crew:
        stand = Stand(setup, port, crew, Deck(questions(MODEL, prompts)))
        clients = ENGINES * setup.slots
        await stand.closed(clients, WARM * clients)
        found = await stand.trial(0, rate, seconds)
    say(told(found))
    return found


def told(trial: Trial) -> str:
    return (
        f"round {trial.round + 1} {trial.setup}: {trial.rate:.2f}/s, p50 {trial.p50:.2f} s, p95 {trial.p95:.2f} s, "
        f"{trial.cached_share:.0%} cached, {trial.failed} failed{', ' * bool(trial.invalid)}{trial.invalid}"
    )


def between(knees: Sequence[Mapping[str, float | None]]) -> float:
    """A rate in the middle of the two setups'; 0 where one has none."""
    found = [[rate for each in knees if (rate := each[setup.name])] for setup in (NAIVE, OPTIMISED)]
    return middle([middle(rates) for rates in found]) if all(found) else 0.0


def judged(found: Mapping[str, Any], model: str) -> Proof:
    """Bar and figures of what was measured."""
    knees = [{**each, "one": 1.0} for each in found["knees"]]
    whole = ratio(knees, OPTIMISED.name, NAIVE.name)
    figures = {
        "model": model,
        "engines": f"{ENGINES} llama.cpp, 1 thread and {CONTEXT_TOKENS} tokens of context each",
        "workload": WHAT,
        "seconds_per_trial": found["seconds"],
        "lone_s": round(found["lone_s"], 4),
        "bound_s": round(found["bound_s"], 4),
        "setups": [asdict(setup) for setup in STEPS],
        "beside": asdict(BESIDE),
        "knees": [{name: rate and round(rate, 4) for name, rate in each.items()} for each in found["knees"]],
        "rates": {setup.name: shown(ratio(knees, setup.name, "one")) for setup in (NAIVE, OPTIMISED)},
        "ratio": shown(whole),
        "steps": [{key: value for key, value in each.items() if key != "samples"} for each in found["steps"]],
        "invalid": sum(bool(each["invalid"]) for each in [*found["trials"], *found["steps"]]),
    }
    bar = Bar("three_x_throughput_ratio", whole and round(whole.value, 3), BAR, "ratio", "higher", why=why(figures))
    return Proof([bar], figures, {"trials": found["trials"], "steps": found["steps"]})


def shown(found: Ratio | None) -> dict[str, float] | None:
    """JSON has no infinity: an interval without an upper end has no `high`."""
    if found is None:
        return None
    rounded = {name: round(value, 4) for name, value in found._asdict().items()}
    return {name: value for name, value in rounded.items() if value != float("inf")}


def why(figures: Mapping[str, Any]) -> str:
    slow, fast, whole = figures["rates"][NAIVE.name], figures["rates"][OPTIMISED.name], figures["ratio"]
    if not whole:
        return "no round found the bound for both"
    late = f"; {figures['invalid']} trials whose client was late" if figures["invalid"] else ""
    interval = f"95 % [{whole['low']:.2f}, {whole['high']:.2f}]" if "high" in whole else "one round, no interval"
    return (
        f"{interval}; p95 of {figures['bound_s']:.2f} s at {slow['value']:.2f}/s naive, {fast['value']:.2f}/s optimised"
        f"; {len(figures['knees'])} rounds" + late
    )
