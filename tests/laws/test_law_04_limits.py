"""Law 4. A limit is never exceeded by more than its stated bound, whatever the concurrency, replicas or crashes."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from penstock.core.limit import Level, Measure, Rule, Span
from penstock.core.tenant import Principal, Tenant
from penstock.policy.limit.refusal import Refused
from penstock.policy.limit.statement import Answers, Batch
from penstock.policy.limit.window import first_slice
from penstock.state.limits.sqlite import SqliteStore
from tests.gateway.fuzzing import QUICK
from tests.policy.limit.world import Accounts, Exchange, Running, World

RULES = (
    Rule("requests", Measure.REQUESTS, 8, Level.KEY, window_s=2.0),
    Rule("tokens", Measure.TOTAL_TOKENS, 4_000, Level.TEAM, window_s=8.0),
    Rule("output", Measure.OUTPUT_TOKENS, 1_500, Level.ORG, window_s=3.0, each_model=True),
    Rule("budget", Measure.SPEND, 80_000_000, Level.ALL, span=Span.DAY),
    Rule("at-once", Measure.CONCURRENT_REQUESTS, 6, Level.KEY),
    Rule("in-flight", Measure.IN_FLIGHT_TOKENS, 2_500, Level.ALL),
)
KEYS = tuple(
    Principal(
        Tenant("org", f"team{team}", f"key{team}{key}"), rules=(Rule("own", Measure.INPUT_TOKENS, 700, window_s=1.0),)
    )
    for team in range(2)
    for key in range(2)
)
TRAFFIC_S = 20.0
LONGEST_S = 6.0
QUIET_S = 80.0
"""Requests have ended, machines go on, what was stuck in the network has arrived, windows have passed."""
FAULTS = st.lists(
    st.tuples(
        st.floats(0.0, TRAFFIC_S),
        st.sampled_from(["kill a worker", "kill a replica", "cut off", "freeze", "lose", "slow"]),
        st.integers(0, 100),
        st.floats(0.05, 12.0),
    ),
    max_size=8,
)


class Traffic:
    """Random requests from random clients, some of which leave before the end."""

    def __init__(self, world: World, rate: float, wrong: float) -> None:
        self.world = world
        self.rate = rate
        self.wrong = wrong
        """How far estimates are off."""
        self.admitted = 0
        world.after(0.0, self.arrive)

    def arrive(self) -> None:
        world, rng = self.world, self.world.rng
        if world.now > TRAFFIC_S:
            return
        world.after(rng.expovariate(self.rate), self.arrive)
        workers = world.workers()
        if not workers:
            return
        prompt, answer = rng.randint(1, 200), rng.choice((1, 50, 300))
        estimate = int(answer * rng.uniform(1 - self.wrong, 1 + 2 * self.wrong))
        price = rng.randint(1, 9) * 1000

        def decided(result: Running | Refused) -> None:
            if isinstance(result, Running):
                self.admitted += 1
                used = answer if rng.random() < 0.8 else rng.randint(0, answer)
                lasts = rng.uniform(0.01, 0.2) if rng.random() < 0.5 else rng.uniform(0.2, LONGEST_S)
                world.after(lasts, lambda: world.settle(result, prompt, used, (prompt + used) * price))

        amounts = prompt, estimate, (prompt + estimate) * price
        world.arrive(rng.choice(workers), amounts, decided, rng.choice(KEYS), rng.choice(("one", "two")))


def strike(world: World, fault: str, which: int, lasts: float) -> None:
    """One fault, now."""
    alive = [replica for replica in world.replicas if replica.alive]
    replica = alive[which % len(alive)]
    match fault:
        case "kill a worker":
            workers = [worker for worker in replica.workers if worker.alive]
            replica.crash_worker(workers[which % len(workers)])
        case "kill a replica":
            replica.crash()
            world.add(len(replica.workers))
        case "cut off":
            replica.linked = False
            world.after(lasts, lambda: setattr(replica, "linked", True))
        case "freeze":
            replica.thaws_at = max(replica.thaws_at, world.now + lasts)
        case "lose":
            world.loss = 0.3
            world.after(lasts, lambda: setattr(world, "loss", 0.0))
        case "slow":
            world.slowest = 1.5
            world.after(lasts, lambda: setattr(world, "slowest", 0.005))


def play(
    exchange: Exchange,
    seed: int,
    replicas: int,
    workers: int,
    rate: float,
    wrong: float,
    faults: list[tuple[float, str, int, float]],
) -> World:
    """Traffic with faults, then quiet, then one request that needs every window empty."""
    world = World(RULES, seed, exchange)
    for _ in range(replicas):
        world.add(workers)
    traffic = Traffic(world, rate, wrong)
    for at, fault, which, lasts in faults:
        world.after(at, lambda fault=fault, which=which, lasts=lasts: strike(world, fault, which, lasts))  # type: ignore[misc]
    world.run(QUIET_S)
    world.check()
    assert traffic.admitted
    world.check_nothing_leaks()
    return world


def whole_limit_fits(world: World) -> None:
    """Shares have come back: one request may use all that its limits allow."""
    answers: list[Running | Refused] = []
    principal = Principal(Tenant("org", "team0", "another"))
    world.arrive(world.workers()[0], (1_000, 1_500, 0), answers.append, principal, "one")
    world.run(world.now + 1.0)
    (answer,) = answers
    assert isinstance(answer, Running), str(answer)
    world.settle(answer, 1_000, 1_500, 0)


UNSHRUNK = settings(QUICK, phases=(Phase.explicit, Phase.generate))
"""A seed has no smaller form."""
PLAYS = {
    "seed": st.integers(0, 2**32),
    "replicas": st.integers(1, 8),
    "workers": st.integers(1, 4),
    "rate": st.sampled_from([5.0, 30.0, 100.0]),
    "wrong": st.sampled_from([0.0, 0.5]),
    "faults": FAULTS,
}


@settings(UNSHRUNK, max_examples=25)
@given(**PLAYS)
def test_no_window_holds_more_than_its_limit_and_nothing_leaks(
    seed: int, replicas: int, workers: int, rate: float, wrong: float, faults: list[tuple[float, str, int, float]]
) -> None:
    accounts = Accounts()
    world = play(accounts, seed, replicas, workers, rate, wrong, faults)
    whole_limit_fits(world)
    for bucket in {entry.bucket.id: entry.bucket for entry in world.log}.values():
        if bucket.window_us:
            spent = accounts.accounts[bucket.id].spent
            first = first_slice(bucket, world.store_us())
            assert sum(amount for number, amount in spent.items() if number >= first) <= 2_500


@contextmanager
def sqlite(folder: Path) -> Iterator[Exchange]:
    """Its exchanges, one after the other."""
    clock = [0]
    with asyncio.Runner() as runner:
        store = SqliteStore(folder / "limits.sqlite", lambda: clock[0])

        def exchange(batch: Batch, now_us: int) -> Answers:
            clock[0] = now_us
            return runner.run(store.exchange(batch))

        yield exchange
        runner.run(store.close())


@settings(UNSHRUNK, max_examples=3)
@given(**PLAYS | {"replicas": st.integers(1, 3), "workers": st.integers(1, 2)})
def test_the_same_on_sqlite(
    seed: int, replicas: int, workers: int, rate: float, wrong: float, faults: list[tuple[float, str, int, float]]
) -> None:
    with TemporaryDirectory() as folder, sqlite(Path(folder)) as exchange:
        whole_limit_fits(play(exchange, seed, replicas, workers, rate, wrong, faults))
