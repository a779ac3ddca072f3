"""Limits on a real Redis and a real PostgreSQL: the same meaning, the servers' clocks, outages without a hang."""

import asyncio
import random
import time
import uuid
from collections.abc import AsyncIterator

import pytest

from penstock.policy.limit.bucket import Bucket
from penstock.policy.limit.local import Reservation
from penstock.policy.limit.refusal import Why
from penstock.policy.limit.statement import Batch, Statement
from penstock.state.limits.postgres import PostgresStore
from penstock.state.limits.redis import RedisStore
from penstock.state.limits.store import LimitStore, Now, StoreAway
from tests.real.servers import Server
from tests.state.limits.exchanges import Meaning, exchanges
from tests.state.limits.replica import rule, running

pytestmark = [pytest.mark.real, pytest.mark.anyio]


@pytest.fixture(params=["redis", "postgres"])
def server(request: pytest.FixtureRequest, redis_server: Server, postgres_server: Server) -> Server:
    return redis_server if request.param == "redis" else postgres_server


def opened(server: Server, now: Now | None = None) -> LimitStore:
    return RedisStore(server.url, now) if server.url.startswith("redis") else PostgresStore(server.url, now)


@pytest.fixture
async def store(server: Server) -> AsyncIterator[LimitStore]:
    store = opened(server)
    yield store
    await store.close()


@pytest.fixture
def minute() -> Bucket:
    return Bucket(uuid.uuid4().hex, 100, 60_000_000)


def batch(bucket: Bucket, number: int, holder: str = "a", spent: int = 0, need: int = 0) -> Batch:
    return Batch(holder, number, 3_000_000, (Statement(bucket, 0, spent, (), number, need, need),))


@pytest.mark.parametrize("seed", range(40))
async def test_it_says_what_an_account_means(server: Server, seed: int) -> None:
    clock = [0]
    store, meaning = opened(server, lambda: clock[0]), Meaning()
    for now_us, each in exchanges(seed, uuid.uuid4().hex):
        clock[0] = now_us
        assert (await store.exchange(each)).answers == meaning(now_us, each).answers
    await store.close()


async def test_the_servers_clock_dates_what_is_spent(store: LimitStore) -> None:
    second = Bucket(uuid.uuid4().hex, 10, 1_000_000)
    answers = await store.exchange(batch(second, 1, spent=10))
    assert abs(answers.now_us / 1e6 - time.time()) < 5
    assert (await store.exchange(batch(second, 2, need=1))).answers[0].granted == 0
    await asyncio.sleep(1.1)
    assert (await store.exchange(batch(second, 3, need=10))).answers[0].granted == 10


async def test_replicas_that_ask_at_once_never_get_more_than_the_limit(server: Server) -> None:
    stores = [opened(server) for _ in range(8)]
    buckets = [Bucket(uuid.uuid4().hex, 1_000, 60_000_000) for _ in range(5)]

    async def ask(place: int, store: LimitStore) -> dict[str, int]:
        total = dict.fromkeys((bucket.id for bucket in buckets), 0)
        amounts = dict(total)
        for number in range(1, 40):
            # In an order of its own: locks must not meet.
            order = buckets[place % 5 :] + buckets[: place % 5]
            statements = tuple(Statement(b, amounts[b.id], 0, (), 0, 1, 7) for b in order)
            answers = await store.exchange(Batch(f"holder{place}", number, 60_000_000, statements))
            for bucket, answer in zip(order, answers.answers, strict=True):
                amounts[bucket.id] += answer.granted
        return amounts

    results = await asyncio.gather(*(ask(place, store) for place, store in enumerate(stores)))
    for bucket in buckets:
        assert sum(amounts[bucket.id] for amounts in results) == 1_000
    for store in stores:
        await store.close()


async def test_a_server_that_comes_back_remembers_and_is_used_again(server: Server, minute: Bucket) -> None:
    store = opened(server)
    await store.exchange(batch(minute, 1, spent=60))
    await asyncio.sleep(1.1)  # Redis writes its log to the disk once a second
    server.stop()
    for number in (2, 3):
        with pytest.raises(StoreAway):
            await store.exchange(batch(minute, number))
    server.start()
    assert (await store.exchange(batch(minute, 4, need=41))).answers[0].granted == 0
    assert (await store.exchange(batch(minute, 5, need=40))).answers[0].granted == 40
    await store.close()


async def test_a_frozen_server_can_be_given_up_on_and_late_statements_change_nothing(
    server: Server, minute: Bucket
) -> None:
    store = opened(server)
    await store.exchange(batch(minute, 1, spent=10))
    server.freeze()
    try:
        for number in (2, 3, 4):
            began = time.monotonic()
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.2):
                    await store.exchange(batch(minute, number, need=50))
            assert time.monotonic() - began < 1.0
    finally:
        server.thaw()
    # What was sent meanwhile is heard now, in whatever order; the holder says that it has none of it.
    for number in (5, 6):
        answers = await store.exchange(batch(minute, number, need=90))
        assert answers.answers[0].granted == 90
        await asyncio.sleep(0.3)
    assert (await store.exchange(batch(minute, 7, holder="b", need=1))).answers[0].granted == 0
    await store.close()


async def test_a_batch_is_one_round_trip_of_a_millisecond_or_two(store: LimitStore) -> None:
    buckets = [Bucket(uuid.uuid4().hex, 10**9, 60_000_000) for _ in range(30)]
    taken = []
    for number in range(1, 60):
        statements = tuple(Statement(bucket, 0, 5, (), number, 1, 10) for bucket in buckets)
        began = time.perf_counter()
        await store.exchange(Batch("a", number, 3_000_000, statements))
        taken.append(time.perf_counter() - began)
        await asyncio.sleep(0.01)
    median = sorted(taken)[len(taken) // 2]
    print(f"{type(store).__name__}: median {median * 1e3:.2f} ms for 30 buckets")
    assert median < 0.25


@pytest.mark.parametrize("fail_open", [False, True])
async def test_a_replica_lives_through_a_frozen_and_a_stopped_server(server: Server, fail_open: bool) -> None:
    """No request waits longer than its 50 ms; rules decide as they say; everything goes on without a restart."""
    async with running(opened(server), rule(10**9, fail_open=fail_open), key=uuid.uuid4().hex) as replica:
        worker = replica.workers[0]

        async def play(seconds: float) -> tuple[int, int, float]:
            """(let through, refused, longest wait)."""
            through = refused = 0
            longest = 0.0
            ends = time.monotonic() + seconds
            while time.monotonic() < ends:
                began = time.monotonic()
                result = await worker.reserve(10)
                longest = max(longest, time.monotonic() - began)
                if isinstance(result, Reservation):
                    worker.limits.settle(result, 10, 0)
                    through += 1
                else:
                    assert result.why is Why.AWAY
                    refused += 1
                await asyncio.sleep(0.005)
            return through, refused, longest

        await play(1.0)
        for fail, mend in ((server.freeze, server.thaw), (server.stop, server.start)):
            await play(1.0)  # what the last outage left behind is no part of what comes now
            before = await play(1.0)
            assert before[0] > 50
            assert before[1] <= before[0] / 20
            fail()
            try:
                # Shares last as long as their lease; then the store is missed.
                _, refused, longest = await play(4.0)
                assert longest < 0.1
                assert refused == 0 if fail_open else refused > 50
                assert replica.keeper.problem
            finally:
                await asyncio.to_thread(mend)
            await replica.mended()


async def test_two_replicas_of_four_workers_use_what_one_key_is_allowed(server: Server) -> None:
    """100 clients in a closed loop: in every window at most the limit, and nearly all of it."""
    limit, window_s, seconds = 10_000, 4.0, 12.0
    rules, key = (rule(limit, window_s=window_s),), uuid.uuid4().hex
    used: list[tuple[float, int]] = []
    async with (
        running(opened(server), *rules, key=key, workers=4) as one,
        running(opened(server), *rules, key=key, workers=4) as two,
    ):
        workers = [*one.workers.values(), *two.workers.values()]
        ends = time.monotonic() + seconds

        async def client(number: int) -> None:
            rng = random.Random(number)
            while time.monotonic() < ends:
                worker, prompt, answer = rng.choice(workers), rng.randint(5, 20), rng.randint(5, 40)
                result = await worker.reserve(prompt, 40)
                at = time.monotonic()
                await asyncio.sleep(rng.uniform(0.01, 0.3))
                if isinstance(result, Reservation):
                    worker.limits.settle(result, prompt, answer)
                    used.append((at, prompt + answer))

        await asyncio.gather(*map(client, range(100)))
    used.sort()
    total = first = 0
    for at, amount in used:
        total += amount
        while used[first][0] <= at - window_s:
            total -= used[first][1]
            first += 1
        assert total <= limit
    assert sum(amount for _, amount in used) > 0.9 * limit * seconds / window_s
