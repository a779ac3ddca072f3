"""Two clients of two engines in virtual time: each asks again once it is answered, and company slows a token down.

Times and noise are those of two vLLM engines on two cores, as cells `shared_system` of `make bench-routing` tell them.
"""

import heapq
import random
from dataclasses import dataclass, field
from statistics import fmean

from penstock.policy.route.facts import Ask, Lease
from penstock.policy.route.router import Router
from penstock.policy.route.settings import RouteSettings
from tests.policy.route.fleets import engine

SYSTEMS, SYSTEM_ENTRIES, OWN_ENTRIES = 4, 10, 2
ENTRY_TOKENS, OUT_TOKENS = 16, 8
BEGIN_S, READ_S, JOIN_S = 0.08, 0.22, 0.03
"""To the first token: of any request, to read a whole prompt, and for each request that is there."""
TOKEN_S, SLOWER = 0.03, 0.10
"""Per token alone, and by how much each other request slows it down."""
STALL, LONGEST_S = 0.08, 0.25
"""How many first tokens the machine delays, and for how long at most."""


@dataclass(frozen=True)
class Ended:
    ttft_s: float
    seconds: float
    anew: bool
    shared: bool


@dataclass
class Running:
    lease: Lease
    ttft_s: float
    cached: int
    shared: bool
    left: int = OUT_TOKENS - 1


@dataclass
class Clients:
    """One run. `requests` are asked in all, by `clients` at a time."""

    router: Router
    rng: random.Random
    requests: int
    ended: list[Ended] = field(default_factory=list)
    caches: dict[str, set[int]] = field(default_factory=lambda: {"a": set(), "b": set()})
    running: dict[str, int] = field(default_factory=lambda: {"a": 0, "b": 0})
    events: list[tuple[float, int, Running]] = field(default_factory=list)
    asked: int = 0
    pushed: int = 0

    def run(self, clients: int = 2) -> None:
        for client in range(clients):
            self.ask(0.001 * client)
        while self.events:
            now, _, running = heapq.heappop(self.events)
            self.token(now, running)

    def push(self, at: float, running: Running) -> None:
        self.pushed += 1
        heapq.heappush(self.events, (at, self.pushed, running))

    def ask(self, now: float) -> None:
        if self.asked == self.requests:
            return
        self.asked += 1
        system = self.rng.randrange(SYSTEMS)
        shared = [1000 * system + entry for entry in range(SYSTEM_ENTRIES)]
        chain = (*shared, *(self.rng.getrandbits(60) for _ in range(OWN_ENTRIES)))
        ask = Ask("m", chain, ENTRY_TOKENS * len(chain), OUT_TOKENS)
        decision = self.router.choose(ask, now, self.rng.random())
        assert decision is not None
        lease = self.router.begin(decision.engine, ask, now, decision)
        cache, others = self.caches[lease.engine], self.running[lease.engine]
        cached = next((depth for depth, entry in enumerate(chain) if entry not in cache), len(chain))
        cache.update(chain)
        self.running[lease.engine] += 1
        ttft_s = BEGIN_S + READ_S * (1 - cached / len(chain)) + JOIN_S * others
        ttft_s *= self.rng.lognormvariate(0, 0.15)
        if self.rng.random() < STALL:
            ttft_s += self.rng.random() * LONGEST_S
        self.push(now + ttft_s, Running(lease, ttft_s, ENTRY_TOKENS * cached, others > 0))

    def token(self, now: float, running: Running) -> None:
        lease = running.lease
        if running.left:
            running.left -= 1
            each_s = TOKEN_S * (1 + SLOWER * (self.running[lease.engine] - 1)) * self.rng.lognormvariate(0, 0.1)
            self.push(now + each_s, running)
            return
        self.running[lease.engine] -= 1
        self.router.end(lease, now)
        seconds = now - lease.since
        self.router.learn(
            lease, now, ttft_s=running.ttft_s, tpot_s=(seconds - running.ttft_s) / (OUT_TOKENS - 1),
            prompt_tokens=lease.ask.prompt_tokens, cached_tokens=running.cached,
        )  # fmt: skip
        self.ended.append(Ended(running.ttft_s, seconds, not running.cached, running.shared))
        self.ask(now)


@dataclass(frozen=True)
class Means:
    """Of several runs: seconds per request, and requests that read their prompt or shared their engine, per run."""

    seconds: float
    anew: float
    shared: float

    @classmethod
    def of(cls, ended: list[Ended], runs: int) -> "Means":
        return cls(
            fmean(each.seconds for each in ended),
            sum(each.anew for each in ended) / runs,
            sum(each.shared for each in ended) / runs,
        )


def means(policy: str, requests: int, runs: int) -> Means:
    found: list[Ended] = []
    for seed in range(runs):
        router = Router(RouteSettings(policy=policy))
        router.update([engine("a"), engine("b")])
        clients = Clients(router, random.Random(seed), requests)
        clients.run()
        found += clients.ended
    return Means.of(found, runs)
