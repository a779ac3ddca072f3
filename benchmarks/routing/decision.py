"""What a routing decision costs: 100 engines, a prompt of 8k tokens (32 KiB), one core.

After each decision an empty loop of about its length is timed. It touches no memory, so what makes it slow now and then
is the machine; decisions, which do, can meet more of that. `python -m benchmarks.routing prove --only decision`.
"""

import gc
import random
import time
from collections.abc import Callable, Sequence
from statistics import median
from typing import Any

from benchmarks.bars import Bar
from benchmarks.gateway.session import say
from benchmarks.limits.proof import Proof
from penstock.core.load import Load
from penstock.policy.route.facts import Ask, EngineFacts, Lease
from penstock.policy.route.policies import POLICIES
from penstock.policy.route.prefix import prompt_chain
from penstock.policy.route.router import Router
from penstock.policy.route.settings import RouteSettings

ENGINES = 100
PROMPT_BYTES = 32 * 1024
SHARED = 64
"""Different prompts; each decision has one of them, with an own last quarter half of the time."""
DECISIONS = 20_000
PARTS = 5
WARM_UP = 2_000
QUICK_DECISIONS = 2_000
LOOP_US = 50.0
"""About a decision."""
SLOW = 2.0
"""Medians, from which on a decision or a loop was slow."""
LIMIT_US = 100.0
BLOCK_BYTES = RouteSettings().block_bytes


def fleet(rng: random.Random, at: float) -> list[EngineFacts]:
    """Busy engines, each with a reading of its load."""
    return [
        EngineFacts(
            name=f"engine-{i}",
            models=frozenset({"model"}),
            cost=1.0 + i % 3,
            kv_capacity_tokens=500_000,
            load=Load(at=at, running=rng.randrange(4, 12), waiting=rng.randrange(3), kv_utilisation=rng.random()),
        )
        for i in range(ENGINES)
    ]


def prompts(rng: random.Random) -> list[bytes]:
    """Prompts of full length, in pairs that differ in their last quarter."""
    out = []
    for _ in range(SHARED):
        whole = rng.randbytes(PROMPT_BYTES)
        out.append(whole)
        out.append(whole[: PROMPT_BYTES * 3 // 4] + rng.randbytes(PROMPT_BYTES // 4))
    return out


def _chain(prompt: bytes) -> tuple[int, ...]:
    return prompt_chain(prompt, BLOCK_BYTES, "model")


def _ask(prompt: bytes) -> Ask:
    return Ask("model", _chain(prompt), PROMPT_BYTES // 4, 128)


def _end(router: Router, lease: Lease, now: float, ttft_s: float) -> None:
    router.end(lease, now)
    router.learn(lease, now, ttft_s=ttft_s, tpot_s=0.01, prompt_tokens=8192)


def _summary(nanoseconds: Sequence[int]) -> dict[str, Any]:
    """Percentiles are medians over parts of the run: what else the machine does comes in bursts."""
    part = len(nanoseconds) // PARTS
    middle = median(nanoseconds)
    parts = [sorted(nanoseconds[part * number : part * (number + 1)]) for number in range(PARTS)]
    p99s = [each[part * 99 // 100] / 1e3 for each in parts]
    return {
        "p50_us": median(each[part // 2] for each in parts) / 1e3,
        "p99_us": median(p99s),
        "p99_us_of_parts": p99s,
        "slow_share": round(sum(each > SLOW * middle for each in nanoseconds) / len(nanoseconds), 4),
        "mean_us": sum(nanoseconds) / len(nanoseconds) / 1e3,
        "decisions": len(nanoseconds),
    }


def measure_chain(decisions: int = DECISIONS) -> dict[str, Any]:
    """The hash chain of the prompt alone."""
    texts = prompts(random.Random(1))
    return _timed(lambda i: _chain(texts[i % len(texts)]), decisions)


def _turns() -> int:
    """So many turns of an empty loop take LOOP_US."""
    turns, best = 10_000, float("inf")
    for _ in range(20):
        start = time.perf_counter_ns()
        _loop(turns)
        best = min(best, time.perf_counter_ns() - start)
    return max(1, round(turns * LOOP_US * 1e3 / best))


def _loop(turns: int) -> None:
    for _ in range(turns):
        pass


def measure_choose(policy: str, decisions: int = DECISIONS) -> dict[str, dict[str, Any]]:
    """`choose` with the chain included, as a gateway calls it; what `begin` and `end` add; and the empty loop."""
    rng = random.Random(1)
    texts = prompts(rng)
    router = Router(RouteSettings(policy=policy))
    router.update(fleet(rng, 0.0))
    chances = [rng.random() for _ in range(1024)]
    leases = []
    for i in range(WARM_UP):
        ask = _ask(texts[i % len(texts)])
        decision = router.choose(ask, i / 1e4, chances[i % 1024])
        if decision is not None:
            leases.append(router.begin(decision.engine, ask, i / 1e4, decision))
        if len(leases) > 4 * ENGINES:
            _end(router, leases.pop(0), i / 1e4, rng.random())
    choosing: list[int] = []
    keeping: list[int] = []
    looping: list[int] = []
    turns = _turns()
    clock = time.perf_counter_ns
    gc.disable()
    try:
        for i in range(decisions):
            now = 0.2 + i / 1e5
            text = texts[i % len(texts)]
            start = clock()
            ask = _ask(text)
            decision = router.choose(ask, now, chances[i % 1024])
            chosen = clock()
            if decision is None:
                raise RuntimeError("a fleet without an engine left")
            lease = router.begin(decision.engine, ask, now, decision)
            _end(router, leases.pop(0), now, 0.1)
            kept = clock()
            _loop(turns)
            looped = clock()
            leases.append(lease)
            choosing.append(chosen - start)
            keeping.append(kept - chosen)
            looping.append(looped - kept)
    finally:
        gc.enable()
    return {"choose": _summary(choosing), "begin_end": _summary(keeping), "empty_loop": _summary(looping)}


def _timed(call: Callable[[int], object], times: int) -> dict[str, Any]:
    clock = time.perf_counter_ns
    spent = []
    gc.disable()
    try:
        for i in range(times):
            start = clock()
            call(i)
            spent.append(clock() - start)
    finally:
        gc.enable()
    return _summary(spent)


def measure(decisions: int = DECISIONS) -> dict[str, Any]:
    """Microseconds per decision: the chain alone, and each policy with the chain included."""
    return {
        "engines": ENGINES,
        "prompt_bytes": PROMPT_BYTES,
        "chain": measure_chain(decisions),
        "policies": {name: measure_choose(name, decisions) for name in POLICIES},
    }


def prove(*, quick: bool = False) -> Proof:
    """Raises nothing: no engine is needed."""
    found = measure(QUICK_DECISIONS if quick else DECISIONS)
    made = bars(found["policies"]["balanced"])
    say(f"decision: {made[0].value} us; {made[0].why}")
    return Proof(made, found, {})


def bars(of: dict[str, dict[str, Any]]) -> list[Bar]:
    """`of`: the default policy's summaries."""
    choose, loop = of["choose"], of["empty_loop"]
    why = (
        f"p50 {choose['p50_us']:.0f}, {choose['slow_share']:.1%} twice as slow; of an empty loop beside it p50 "
        f"{loop['p50_us']:.0f}, p99 {loop['p99_us']:.0f}, {loop['slow_share']:.1%} twice as slow"
    )
    return [Bar("decision_p99_us", round(choose["p99_us"], 1), LIMIT_US, "us", strict=True, why=why)]
