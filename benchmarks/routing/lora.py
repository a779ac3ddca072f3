"""LoRA adapters on two real vLLMs: requests reach their own, and affinity keeps each where it is at work.

Each engine has room for one adapter at a time. A request hits when the request before it on its engine wanted the same
one; by chance, as in turn, half of them do.
"""

from __future__ import annotations

import asyncio
import json
import random
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from itertools import takewhile
from pathlib import Path
from typing import Any

from benchmarks.bars import Bar
from benchmarks.gateway.gateways import ROOT, NotStarted
from benchmarks.gateway.session import say
from benchmarks.limits.proof import Proof
from benchmarks.routing import signals
from benchmarks.routing.adapters import write_adapter
from benchmarks.routing.client import ask
from benchmarks.routing.engines import MODEL, Fleet, absent, get, running
from benchmarks.routing.fronts import Front, penstock, started
from benchmarks.routing.workloads import words

ADAPTERS = ("red", "blue")
POLICIES = ("balanced", "round_robin")
REQUESTS, QUICK_REQUESTS = 60, 16
AT_ONCE = 2
QUESTIONS = ("The river", "Once upon a time", "Why do stones sink?", "Tell me of the mill.")
"""Models that answer all of them alike are not told apart."""
BRIEFING_WORDS, TAIL_WORDS = 80, 8
GAIN = 1.5


def prove(*, quick: bool = False) -> Proof:
    """Raises NotStarted."""
    with tempfile.TemporaryDirectory(prefix="penstock-lora-") as name:
        folder = Path(name)
        modules = [f"{name}={write_adapter(folder / name, seed)}" for seed, name in enumerate(ADAPTERS)]
        flags = ("--enable-lora", "--max-loras", "1", "--max-lora-rank", "8", "--lora-modules", *modules)
        fleet = Fleet("vllm", 2, "2 vLLM on CPU, one adapter at a time", flags=flags)
        if why := absent(fleet):
            raise NotStarted(why)
        with running(fleet, folder, Path()) as engines:
            texts = asyncio.run(_said(engines[0].port))
            rows: dict[str, Any] = {}
            for policy in POLICIES:
                front = Front(policy, "", penstock(policy, models=()), environment={"PYTHONPATH": str(ROOT / "src")})
                with started(front, engines, folder / policy) as port:
                    rows[policy] = {
                        "same": asyncio.run(_same(port)),
                        "asked": asyncio.run(_asked(port, policy, QUICK_REQUESTS if quick else REQUESTS)),
                    }
            # Every series that vLLM has is there once an adapter was at work.
            version = json.loads(get(f"{engines[0].url}/version"))["version"]
            read = signals.read(get(f"{engines[0].url}/metrics"), version)
    found = {"texts": texts, "policies": rows}
    figures = {"adapters": told(found), "signals": read}
    say(f"adapters: {figures}")
    return Proof([*bars(figures["adapters"]), *signals.bars(read)], figures, found)


async def _said(port: int) -> dict[str, list[str]]:
    """What each model answers an engine that is asked without a gateway. Raises NotStarted when two say the same."""
    texts = {model: [await _well(port, model, question) for question in QUESTIONS] for model in (MODEL, *ADAPTERS)}
    if len(set(map(tuple, texts.values()))) < len(texts):
        raise NotStarted(f"two models say the same: {texts}")
    return texts


async def _same(port: int) -> list[tuple[str, int, str]]:
    """Model, question and answer, one after the other."""
    return [
        (model, number, await _well(port, model, question))
        for number, question in enumerate(QUESTIONS)
        for model in (MODEL, *ADAPTERS)
    ]


async def _well(port: int, model: str, question: str) -> str:
    answer = await ask(port, model, [{"role": "user", "content": question}])
    if not answer.ok:
        raise NotStarted(f"{model}: {answer.error or answer.status}")
    return answer.text


async def _asked(port: int, salt: str, count: int) -> list[dict[str, Any]]:
    """Requests for adapters drawn by chance, in the order they were sent."""
    rng = random.Random("adapters")
    briefings = {name: f"{salt} {words(random.Random(name), BRIEFING_WORDS)}" for name in ADAPTERS}
    waiting = iter([(rng.choice(ADAPTERS), words(rng, TAIL_WORDS)) for _ in range(count)])
    rows: list[dict[str, Any]] = []

    async def client(jobs: Iterator[tuple[str, str]]) -> None:
        for adapter, tail in jobs:
            messages = [{"role": "system", "content": briefings[adapter]}, {"role": "user", "content": tail}]
            answer = await ask(port, adapter, messages)
            rows.append(
                {
                    "adapter": adapter,
                    "engine": answer.engine,
                    "sent": answer.sent,
                    "prompt": answer.prompt_tokens,
                    "cached": answer.cached_tokens,
                    "error": "" if answer.ok else answer.error or f"status {answer.status}",
                }
            )

    async with asyncio.TaskGroup() as tasks:
        for _ in range(AT_ONCE):
            tasks.create_task(client(waiting))
    return sorted(rows, key=lambda row: row["sent"])


def hit_share(rows: Sequence[Mapping[str, Any]]) -> float:
    """Part of the requests, but each engine's first, that want what the one before on their engine wanted."""
    last: dict[str, str] = {}
    hits = []
    for row in rows:
        if row["engine"] in last:
            hits.append(last[row["engine"]] == row["adapter"])
        last[row["engine"]] = row["adapter"]
    return sum(hits) / len(hits) if hits else 0.0


def _nearest(text: str, texts: Mapping[str, Sequence[str]], number: int) -> str:
    """Whose answer it begins like for longest. Whether a prompt came from the cache may change a close choice of a
    token, so an adapter does not always end a sentence alike."""
    return max(texts, key=lambda model: _alike(text, texts[model][number]))


def _alike(one: str, other: str) -> int:
    """Characters that both begin with."""
    return sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(one, other, strict=False)))


def told(found: Mapping[str, Any]) -> dict[str, Any]:
    policies = found["policies"]
    same = [each for of in policies.values() for each in of["same"]]
    return {
        "asked": len(same),
        "of_another": sum(_nearest(text, found["texts"], number) != model for model, number, text in same),
        "failed": sum(bool(row["error"]) for of in policies.values() for row in of["asked"]),
        "hit_share": {policy: round(hit_share(of["asked"]), 4) for policy, of in policies.items()},
        "cached_share": {
            policy: round(
                sum(row["cached"] for row in of["asked"]) / max(1, sum(row["prompt"] for row in of["asked"])), 4
            )
            for policy, of in policies.items()
        },
    }


def bars(of: Mapping[str, Any]) -> list[Bar]:
    """`of`: what `told` says."""
    (own, own_hits), (other, other_hits) = of["hit_share"].items()
    ratio = round(own_hits / other_hits, 4) if other_hits else None
    cached = of["cached_share"]
    why = f"{own_hits:.0%} met their adapter with {own}, {other_hits:.0%} with {other}"
    return [
        Bar("adapter_answers_of_another", of["of_another"], 0, "answers", why=f"of {of['asked']}"),
        Bar("adapter_requests_failed", of["failed"], 0, "requests"),
        Bar("adapter_hits_over_round_robin", ratio, GAIN, "ratio", "higher", why=why),
        Bar(
            "adapter_cached_over_round_robin", _over(cached[own], cached[other]), 1.0, "ratio", "higher",
            why=f"{cached[own]:.0%} of the prompt tokens cached, {cached[other]:.0%} in turn",
        ),
    ]  # fmt: skip


def _over(own: float, other: float) -> float | None:
    return round(own / other, 4) if other else None
