"""An overload passes, and leaves no engines that all have dropped what they are asked for.

Engines as llama.cpp has them: each slot keeps its last prompt, and a few more are kept beside. Reading a prompt takes
many times as long as answering from the cache, so what the caches hold decides how much the fleet can serve.
"""

import random
from collections import OrderedDict, deque
from dataclasses import dataclass, field

from penstock.core.load import Load
from penstock.policy.route.facts import Ask, EngineFacts, Lease
from penstock.policy.route.prefix import prompt_chain
from penstock.policy.route.router import Router
from penstock.policy.route.settings import RouteSettings

ENGINES, SLOTS, KEPT = 4, 2, 2
PROMPT_TOKENS, QUESTION_TOKENS, BYTES_PER_TOKEN = 800, 40, 7
"""The gateway takes a token for four bytes until answers tell."""
HIT_S, READ_S = 0.64, 3.2
"""Answering with the prompt cached, and reading it besides; of a core. Two cores are shared by all."""
CORES = 2.0
PATIENCE_S = 30.0


@dataclass(eq=False)
class Request:
    due: float
    prompt: int
    ask: Ask
    lease: Lease | None = None
    engine: int = 0
    slot: int = 0
    hit: bool = False
    left: float = 0.0


@dataclass
class LlamaServer:
    slots: list[int | None] = field(default_factory=lambda: [None] * SLOTS)
    used: list[int] = field(default_factory=lambda: [0] * SLOTS)
    kept: OrderedDict[int, None] = field(default_factory=OrderedDict)
    queue: deque[Request] = field(default_factory=deque)
    running: list[Request] = field(default_factory=list)
    turn: int = 0

    def launch(self) -> None:
        while self.queue and len(self.running) < SLOTS:
            request = self.queue.popleft()
            busy = {each.slot for each in self.running}
            free = [slot for slot in range(SLOTS) if slot not in busy]
            same = [slot for slot in free if self.slots[slot] == request.prompt]
            self.turn += 1
            slot = same[0] if same else min(free, key=self.used.__getitem__)
            if not same:
                if (old := self.slots[slot]) is not None:
                    self.kept[old] = None
                    self.kept.move_to_end(old)
                    while len(self.kept) > KEPT:
                        self.kept.popitem(last=False)
                request.hit = self.kept.pop(request.prompt, 0) is None
            else:
                request.hit = True
            self.slots[slot], self.used[slot], request.slot = request.prompt, self.turn, slot
            request.left = HIT_S + (0.0 if request.hit else READ_S)
            self.running.append(request)


class Fleet:
    """Engines that take `bound` requests each (0: all), behind one router and a first-come queue."""

    def __init__(self, prompts: int, bound: int, seed: int) -> None:
        self.rng = random.Random(seed)
        self.texts = [self.rng.randbytes(BYTES_PER_TOKEN * PROMPT_TOKENS) for _ in range(prompts)]
        self.router = Router(RouteSettings())
        self.servers = [LlamaServer() for _ in range(ENGINES)]
        self.bound = bound
        self.now = 0.0
        self.waiting: deque[Request] = deque()
        self.read()

    def read(self) -> None:
        self.router.update(
            [
                EngineFacts(
                    str(number),
                    frozenset({"m"}),
                    max_in_flight=self.bound,
                    load=Load(at=self.now, running=len(server.running), waiting=len(server.queue)),
                )
                for number, server in enumerate(self.servers)
            ]
        )

    def send(self) -> None:
        while self.waiting and self.now - self.waiting[0].due > PATIENCE_S:
            self.waiting.popleft()
        while self.waiting:
            request = self.waiting[0]
            decision = self.router.choose(request.ask, self.now, self.rng.random(), may_wait=True)
            if decision is None:
                return
            self.waiting.popleft()
            request.engine = int(decision.engine)
            request.lease = self.router.begin(decision.engine, request.ask, self.now, decision)
            self.servers[request.engine].queue.append(request)
            self.servers[request.engine].launch()

    def end(self, server: LlamaServer, request: Request) -> None:
        server.running.remove(request)
        assert request.lease is not None
        self.router.end(request.lease, self.now)
        cached = PROMPT_TOKENS if request.hit else 0
        tokens = PROMPT_TOKENS + QUESTION_TOKENS
        self.router.learn(request.lease, self.now, prompt_tokens=tokens, cached_tokens=cached)
        server.launch()

    def arrive(self, due: float) -> None:
        prompt = self.rng.randrange(len(self.texts))
        text = self.texts[prompt] + self.rng.randbytes(BYTES_PER_TOKEN * QUESTION_TOKENS)
        ask = Ask("m", prompt_chain(text, 256, "m"), int(len(text) / self.router.bytes_per_token), 16)
        self.waiting.append(Request(due, prompt, ask))

    def phase(self, rate: float, seconds: float) -> float:
        """Serves at a rate until all is answered; the share of answers whose prompt was cached."""
        due = deque(sorted(self.now + self.rng.random() * seconds for _ in range(round(rate * seconds))))
        hits: list[bool] = []
        reading = self.now + 1.0
        while due or self.waiting or any(server.running for server in self.servers):
            active = [server for server in self.servers if server.running]
            speed = min(1.0, CORES / len(active)) if active else 0.0
            next_end = min((r.left * len(s.running) / speed for s in active for r in s.running), default=1e9)
            step = max(0.0, min(next_end, reading - self.now, due[0] - self.now if due else 1e9))
            self.now += step
            for server in active:
                share = step * speed / len(server.running)
                for request in list(server.running):
                    request.left -= share
                for request in [each for each in server.running if each.left <= 1e-9]:
                    hits.append(request.hit)
                    self.end(server, request)
            while due and due[0] <= self.now + 1e-9:
                self.arrive(due.popleft())
            if self.now >= reading - 1e-9:
                self.read()
                reading = self.now + 1.0
            self.send()
        return sum(hits) / len(hits)


def after_an_overload(prompts: int, bound: int) -> float:
    """Share of cached prompts at an easy rate, after twice what the fleet can serve; mean of four runs."""
    shares = []
    for seed in range(4):
        fleet = Fleet(prompts, bound, seed)
        fleet.phase(1.0, 60)
        fleet.phase(5.0, 40)
        fleet.phase(1.3, 60)
        shares.append(fleet.phase(1.3, 60))
    return sum(shares) / len(shares)


def test_bounded_engines_find_their_prompts_again() -> None:
    assert after_an_overload(ENGINES, SLOTS) > 0.95


def test_so_do_engines_without_a_bound() -> None:
    assert after_an_overload(ENGINES, 0) > 0.95


def test_two_prompts_for_each_engine_find_theirs_though_nobody_told_how_much_it_holds() -> None:
    assert after_an_overload(2 * ENGINES, SLOTS) > 0.75
