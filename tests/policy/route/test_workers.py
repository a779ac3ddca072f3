"""Several routers before one fleet: what each tells the others of what it sent makes up for what it did not send."""

import random
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.policy.route.facts import Ask, Decision, EngineFacts, Lease
from penstock.policy.route.router import MOST_SENT, Router
from penstock.policy.route.settings import RouteSettings
from tests.policy.route.fleets import NAMES, PROPERTY, engine
from tests.policy.route.service import run
from tests.policy.route.test_hot_spot import ENGINES, sessions

TOLD_S = 0.1
"""As often as workers tell."""


class Crew(Router):
    """Routers that take requests by chance. `tell`: what they sent is told to the others."""

    def __init__(self, workers: int, *, tell: bool) -> None:
        super().__init__(RouteSettings())
        self.routers = [Router(RouteSettings()) for _ in range(workers)]
        self._at_work = self.routers[0]
        self._owner: dict[int, Router] = {}
        self._rng = random.Random(workers)
        self._next = 0.0
        if tell:
            for router in self.routers:
                router.share()

    def update(self, engines: Sequence[EngineFacts]) -> None:
        for router in self.routers:
            router.update(engines)

    def choose(self, ask: Ask, now: float, chance: float, excluded: object = ()) -> Decision | None:
        if now >= self._next:
            self._next = now + TOLD_S
            for router in self.routers:
                for name, chain in router.sent():
                    for other in self.routers:
                        if other is not router:
                            other.learned(name, chain)
        self._at_work = self._rng.choice(self.routers)
        return self._at_work.choose(ask, now, chance)

    def begin(self, engine: str, ask: Ask, now: float, decision: Decision | None = None) -> Lease:
        lease = self._at_work.begin(engine, ask, now, decision)
        self._owner[id(lease)] = self._at_work
        return lease

    def end(self, lease: Lease, now: float) -> None:
        self._owner[id(lease)].end(lease, now)

    def learn(self, lease: Lease, now: float, **told: object) -> None:
        self._owner.pop(id(lease)).learn(lease, now, **told)  # type: ignore[arg-type]


@pytest.mark.parametrize("workers", [2, 4])
def test_workers_that_tell_find_what_one_router_finds(workers: int) -> None:
    asks = sessions(3, 3000, 120)
    one = run(Router(RouteSettings()), asks, ENGINES, 120.0, seed=7)
    alone = run(Crew(workers, tell=False), asks, ENGINES, 120.0, seed=7)
    told = run(Crew(workers, tell=True), asks, ENGINES, 120.0, seed=7)
    read = [1 - outcome.hit_share for outcome in (one, told, alone)]
    assert read[1] <= 1.25 * read[0], read
    assert read[1] < 0.8 * read[2], read


@PROPERTY
@given(st.lists(st.tuples(st.sampled_from(NAMES), st.integers(0, 900)), max_size=30))
def test_what_was_sent_is_told_once_in_order_and_of_too_much_the_latest(begun: list[tuple[str, int]]) -> None:
    router = Router(RouteSettings())
    router.update([engine(name) for name in NAMES])
    router.share()
    chains = [tuple(range(1000 * number, 1000 * number + size)) for number, (_, size) in enumerate(begun)]
    for (name, _), chain in zip(begun, chains, strict=True):
        router.begin(name, Ask("m", chain, 10, 10), 0.0)
    sent = [(name, chain) for (name, _), chain in zip(begun, chains, strict=True) if chain]
    told = router.sent()
    assert told == sent[len(sent) - len(told) :]
    entries = sum(len(chain) for _, chain in told)
    assert entries <= MOST_SENT
    if len(told) < len(sent):
        assert entries + len(sent[-len(told) - 1][1]) > MOST_SENT
    assert router.sent() == []


def test_a_router_that_nobody_listens_to_keeps_nothing() -> None:
    router = Router(RouteSettings())
    router.update([engine("a")])
    router.begin("a", Ask("m", (1, 2, 3), 10, 10), 0.0)
    assert router.sent() == []
