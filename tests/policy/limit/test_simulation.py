"""Closed-loop clients on one key, over replicas and workers, in virtual time."""

import pytest

from penstock.core.limit import Level, Measure, Rule
from penstock.policy.limit.refusal import Refused
from tests.policy.limit.world import Running, World

LIMIT = 10_000
MINUTE = 60.0
RULES = (
    Rule("tpm", Measure.TOTAL_TOKENS, LIMIT, Level.KEY, window_s=MINUTE),
    Rule("rpm", Measure.REQUESTS, 100_000, Level.TEAM, window_s=MINUTE),
    Rule("at-once", Measure.CONCURRENT_REQUESTS, 1_000, Level.ORG),
)


class Client:
    """Sends a request, waits for its end, sends the next; after a refusal it comes again."""

    def __init__(self, world: World, patience: float, streams: bool) -> None:
        self.world = world
        self.patience = patience
        self.streams = streams
        world.after(world.rng.uniform(0, 2), self.send)

    def send(self) -> None:
        rng = self.world.rng
        self.prompt, self.answer = rng.randint(10, 40), rng.randint(10, 120)
        worker = rng.choice(self.world.workers())
        self.world.arrive(worker, (self.prompt, 120, 0), self.decided)

    def decided(self, result: Running | Refused) -> None:
        rng = self.world.rng
        if isinstance(result, Refused):
            wait = result.wait_s
            assert wait is not None
            self.world.after(min(self.patience, wait) * rng.uniform(1.0, 1.1), self.send)
            return

        def end() -> None:
            self.world.settle(result, self.prompt, self.answer, 0)
            self.send()

        self.world.after(rng.uniform(0.2, 8.0) if self.streams else rng.uniform(0.01, 0.3), end)


@pytest.mark.parametrize("streams", [False, True], ids=["unary", "streams"])
def test_200_clients_of_one_key_use_what_it_is_allowed_within_two_percent(streams: bool) -> None:
    world = World(RULES, seed=20 + streams)
    for _ in range(2):
        world.add(workers=4)
    for _ in range(200):
        Client(world, patience=1.0, streams=streams)
    world.run(3 * MINUTE)
    tokens = [(entry.at, entry.base) for entry in world.log if entry.bucket.limit == LIMIT]
    assert sum(amount for _, amount in tokens) == pytest.approx(3 * LIMIT, rel=0.02)
    for minute in range(3):
        used = sum(amount for at, amount in tokens if minute <= at / MINUTE < minute + 1)
        assert used == pytest.approx(LIMIT, rel=0.02)
    world.check()
