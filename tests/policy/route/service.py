"""A simple discrete service: engines with slots, a first-come queue and a true prefix cache with LRU."""

import heapq
import random
from collections import OrderedDict, deque
from dataclasses import dataclass, field

from penstock.core.load import Load
from penstock.policy.route.facts import Ask, EngineFacts, Lease
from penstock.policy.route.router import Router

SLOTS = 4
BYTES_PER_TOKEN = 4
OVERHEAD_S = 0.01
TOKENS_PER_S = 8000.0
ANSWER_S = 0.1
WARM = 0.2
"""Share of the run that is not measured."""


@dataclass
class Server:
    """One engine as it truly is."""

    capacity: int
    """Entries its cache holds."""
    cache: OrderedDict[int, None] = field(default_factory=OrderedDict)
    queue: deque[tuple[Ask, Lease, float]] = field(default_factory=deque)
    running: int = 0
    served: int = 0

    def start(self, ask: Ask) -> tuple[float, float]:
        """Share of the prompt found cached, and seconds until the answer is whole."""
        depth = next((i for i, entry in enumerate(ask.chain) if entry not in self.cache), len(ask.chain))
        for entry in reversed(ask.chain):
            self.cache.pop(entry, None)
            self.cache[entry] = None
        while len(self.cache) > self.capacity:
            self.cache.popitem(last=False)
        share = depth / len(ask.chain)
        self.served += 1
        return share, OVERHEAD_S + ask.prompt_tokens * (1 - share) / TOKENS_PER_S + ANSWER_S


@dataclass
class Outcome:
    """What came of a run, after its warm-up."""

    served: dict[str, int]
    hit_share: float
    first_token_p50: float
    idle_while_loaded: float
    """Seconds for which the load was uneven."""
    seconds: float


class Service:
    """Engines behind one router, in virtual time."""

    def __init__(self, router: Router, asks: list[Ask], engines: int, capacity: int, seed: int) -> None:
        self.router = router
        self.asks = asks
        self.capacity = capacity
        self.rng = random.Random(seed)
        self.servers = {f"e{i}": Server(capacity) for i in range(engines)}
        self.events: list[tuple[float, int, str, str, Lease | None]] = []
        self.order = len(asks)
        self.waits: list[float] = []
        self.hits: list[float] = []
        self.measuring = False

    def push(self, at: float, kind: str, name: str, lease: Lease | None) -> None:
        self.order += 1
        heapq.heappush(self.events, (at, self.order, kind, name, lease))

    def read(self, now: float) -> None:
        """Tells the router each engine's load."""
        tokens = self.capacity * 128 // BYTES_PER_TOKEN
        self.router.update(
            [
                EngineFacts(
                    name,
                    frozenset({"m"}),
                    kv_capacity_tokens=tokens,
                    load=Load(at=now, running=server.running, waiting=len(server.queue)),
                )
                for name, server in self.servers.items()
            ]
        )

    def arrive(self, ask: Ask, now: float) -> None:
        decision = self.router.choose(ask, now, self.rng.random())
        assert decision is not None
        self.servers[decision.engine].queue.append((ask, self.router.begin(decision.engine, ask, now), now))
        self.launch(decision.engine, now)

    def done(self, name: str, lease: Lease, now: float) -> None:
        self.servers[name].running -= 1
        self.router.end(lease, now)
        self.router.learn(lease, now, ttft_s=0.1, prompt_tokens=lease.ask.prompt_tokens)
        self.launch(name, now)

    def launch(self, name: str, now: float) -> None:
        """Starts what the engine has slots for."""
        server = self.servers[name]
        while server.queue and server.running < SLOTS:
            ask, lease, arrived = server.queue.popleft()
            server.running += 1
            share, busy = server.start(ask)
            if self.measuring:
                self.waits.append(now + busy - ANSWER_S - arrived)
                self.hits.append(share)
            self.push(now + busy, "done", name, lease)

    def uneven(self) -> bool:
        """An engine is idle while another has more than 1.3 times its fair load, and two requests beside."""
        loads = [s.running + len(s.queue) for s in self.servers.values()]
        return min(loads) == 0 and max(loads) > 1.3 * sum(loads) / len(loads) + 2

    def handle(self, kind: str, index: int, name: str, lease: Lease | None, now: float) -> None:
        if kind == "read":
            self.read(now)
        elif kind == "arrive":
            self.arrive(self.asks[index], now)
        elif lease is not None:
            self.done(name, lease, now)


def run(router: Router, asks: list[Ask], engines: int, rate: float, seed: int, capacity: int = 4000) -> Outcome:
    """Serves `asks` in order at `rate` per second, Poisson; each engine's load is read once a second."""
    service = Service(router, asks, engines, capacity, seed)
    at = 0.0
    for index in range(len(asks)):
        at += service.rng.expovariate(rate)
        heapq.heappush(service.events, (at, index, "arrive", "", None))
    for second in range(int(at) + 1):
        heapq.heappush(service.events, (float(second), -1, "read", "", None))
    bad = since = 0.0
    base = dict.fromkeys(service.servers, 0)
    while service.events[0][0] <= at:
        now, index, kind, name, lease = heapq.heappop(service.events)
        service.measuring = now > at * WARM
        if not service.measuring:
            base = {n: s.served for n, s in service.servers.items()}
        elif service.uneven():
            bad += now - since
        since = now
        service.handle(kind, index, name, lease, now)
        if not service.events:
            break
    return Outcome(
        {n: s.served - base[n] for n, s in service.servers.items()},
        sum(service.hits) / len(service.hits),
        sorted(service.waits)[len(service.waits) // 2],
        bad,
        at * (1 - WARM),
    )
