"""Clients of four engines that share the cores of one machine, in virtual time.

Every engine has one thread and two slots. Threads that have work share the cores evenly; a prompt that is read holds
the engine's other slot up, and two answers are written almost as fast as one. Work is that of four llama.cpp on two
cores, as the cells of `shared_system` in `make bench-routing` tell it: 72 requests took 7.3 s where 8 prompts were
read, and 10.7 where 21 were.
"""

import random
from dataclasses import dataclass, field

from penstock.policy.route.facts import Ask, Lease
from penstock.policy.route.router import Router
from penstock.policy.route.settings import RouteSettings
from tests.policy.route.clients import ENTRY_TOKENS, OUT_TOKENS, OWN_ENTRIES, SYSTEM_ENTRIES, SYSTEMS, Ended, Means
from tests.policy.route.fleets import engine

ENGINES, SLOTS, CLIENTS = "abcd", 2, 6
STEP_S = 0.01
READ_S, CACHED_S = 0.6, 0.03
"""Work of a whole prompt, and of one that is cached."""
TOKEN_S, SLOWER = 0.015, 0.15
"""Work of a token, and by how much the other slot's makes it more."""


@dataclass
class Running:
    lease: Lease
    cached: int
    work_s: float
    """Left: until the first token, then until the next one."""
    shared: bool
    first_at: float | None = None
    left: int = OUT_TOKENS


@dataclass
class Machine:
    """One run. `requests` are asked in all."""

    router: Router
    rng: random.Random
    requests: int
    cores: int
    now: float = 0.0
    ended: list[Ended] = field(default_factory=list)
    caches: dict[str, set[int]] = field(default_factory=lambda: {name: set() for name in ENGINES})
    running: dict[str, list[Running]] = field(default_factory=lambda: {name: [] for name in ENGINES})

    def run(self) -> None:
        asked = 0
        while len(self.ended) < self.requests:
            while asked < min(self.requests, len(self.ended) + CLIENTS):
                asked += 1
                self.ask()
            working = [name for name, held in self.running.items() if held]
            for name in working:
                self.work(name, STEP_S * min(1.0, self.cores / len(working)))
            self.now += STEP_S

    def ask(self) -> None:
        system = self.rng.randrange(SYSTEMS)
        shared = [1000 * system + entry for entry in range(SYSTEM_ENTRIES)]
        chain = (*shared, *(self.rng.getrandbits(60) for _ in range(OWN_ENTRIES)))
        ask = Ask("m", chain, ENTRY_TOKENS * len(chain), OUT_TOKENS)
        decision = self.router.choose(ask, self.now, self.rng.random())
        assert decision is not None
        lease = self.router.begin(decision.engine, ask, self.now, decision)
        cache, held = self.caches[lease.engine], self.running[lease.engine]
        cached = next((depth for depth, entry in enumerate(chain) if entry not in cache), len(chain))
        cache.update(chain)
        work_s = (CACHED_S + READ_S * (1 - cached / len(chain))) * self.rng.lognormvariate(0, 0.1)
        held.append(Running(lease, ENTRY_TOKENS * cached, work_s, bool(held)))

    def work(self, name: str, seconds: float) -> None:
        """The engine's thread works for so long."""
        served = self.running[name][:SLOTS]
        reading = [each for each in served if each.first_at is None]
        for each in reading or served:
            each.work_s -= seconds / (len(reading) or 1 + SLOWER * (len(served) - 1))
            while each.work_s <= 0 and each.left:
                each.first_at = self.now if each.first_at is None else each.first_at
                each.left -= 1
                each.work_s += TOKEN_S * self.rng.lognormvariate(0, 0.2)
        for each in [each for each in served if not each.left]:
            self.running[name].remove(each)
            self.end(each)

    def end(self, each: Running) -> None:
        lease = each.lease
        assert each.first_at is not None
        self.router.end(lease, self.now)
        ttft_s, seconds = each.first_at - lease.since, self.now - lease.since
        self.router.learn(
            lease, self.now, ttft_s=ttft_s, tpot_s=(seconds - ttft_s) / (OUT_TOKENS - 1),
            prompt_tokens=lease.ask.prompt_tokens, cached_tokens=each.cached,
        )  # fmt: skip
        self.ended.append(Ended(ttft_s, seconds, not each.cached, each.shared))


def on_cores(cores: int, policy: str, requests: int, runs: int) -> Means:
    found: list[Ended] = []
    for seed in range(runs):
        router = Router(RouteSettings(policy=policy))
        router.update([engine(name) for name in ENGINES])
        machine = Machine(router, random.Random(seed), requests, cores)
        machine.run()
        found += machine.ended
    return Means.of(found, runs)
