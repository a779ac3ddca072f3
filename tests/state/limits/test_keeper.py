"""The keeper in real time: batches, bounded waits, stores that are slow or away, and what a stop leaves behind."""

import asyncio
from pathlib import Path

import pytest

from penstock.core.clock import monotonic
from penstock.policy.limit.local import Reservation
from penstock.policy.limit.refusal import Refused, Why
from penstock.policy.limit.statement import Answers, Batch
from penstock.state.limits.memory import MemoryStore
from penstock.state.limits.sqlite import SqliteStore
from penstock.state.limits.store import StoreAway
from tests.state.limits.replica import Replica, Worker, rule, running

pytestmark = pytest.mark.anyio


class Moody(MemoryStore):
    """A store that answers late, or not at all."""

    def __init__(self) -> None:
        super().__init__()
        self.delay_s = 0.0
        self.error: StoreAway | None = None
        self.batches: list[Batch] = []

    async def exchange(self, batch: Batch) -> Answers:
        self.batches.append(batch)
        await asyncio.sleep(self.delay_s)
        if self.error is not None:
            raise self.error
        return await super().exchange(batch)


def first(replica: Replica) -> Worker:
    return replica.workers[0]


async def admitted(worker: Worker, tokens: int = 10) -> bool:
    return isinstance(await worker.reserve(tokens), Reservation)


async def recovered(replica: Replica) -> None:
    """The store is asked again, and workers believe it again."""
    await replica.mended()
    for _ in range(50):
        if await admitted(first(replica)):
            return
        await asyncio.sleep(0.05)
    pytest.fail(replica.keeper.problem)


async def test_requests_that_come_together_are_asked_for_together() -> None:
    store = Moody()
    async with running(store, rule(10_000), workers=4) as replica:
        replica.wait_s = 5.0
        results = await asyncio.gather(*(admitted(worker) for worker in replica.workers.values() for _ in range(50)))
        assert all(results)
        assert len(store.batches) < 10
        assert sum(statement.need for batch in store.batches for statement in batch.statements) == 4 * 50 * 10


async def test_the_whole_limit_is_found_and_no_more() -> None:
    async with running(MemoryStore(), rule(1_000), workers=4) as replica:
        for _ in range(3):
            results = await asyncio.gather(
                *(admitted(worker) for worker in replica.workers.values() for _ in range(50))
            )
            await asyncio.sleep(0.15)
        assert not any(results)
        (use,) = replica.keeper.uses()
        assert (use.used, use.here) == (1_000, 0)


@pytest.mark.parametrize("mood", ["slow", "failing", "frozen"])
@pytest.mark.parametrize("fail_open", [False, True])
async def test_a_store_that_cannot_say_is_waited_for_briefly_and_then_the_rule_decides(
    mood: str, fail_open: bool
) -> None:
    store = Moody()
    async with running(store, rule(10**6, fail_open=fail_open)) as replica:
        worker = first(replica)
        store.delay_s = {"slow": 0.4, "failing": 0.0, "frozen": 60.0}[mood]
        store.error = StoreAway("it failed") if mood == "failing" else None
        slowest = 0.0
        ends = monotonic() + 0.8
        while monotonic() < ends:
            began = monotonic()
            result = await worker.reserve(600)
            slowest = max(slowest, monotonic() - began)
            if fail_open:
                assert isinstance(result, Reservation)
            elif mood != "slow":
                assert isinstance(result, Refused)
                assert result.why is Why.AWAY
            await asyncio.sleep(0.01)
        assert slowest < 0.06 + 0.04, "50 ms, and what a busy machine adds"
        store.delay_s, store.error = 0.0, None
        await recovered(replica)


async def test_while_it_is_known_to_be_away_nobody_waits() -> None:
    store = Moody()
    store.error = StoreAway("it failed")
    async with running(store, rule(1_000)) as replica:
        await first(replica).reserve(10)
        assert replica.keeper.problem == "it failed"
        began = monotonic()
        for _ in range(20):
            assert not await admitted(first(replica))
        assert monotonic() - began < 0.1
        tried = len(store.batches)
        await asyncio.sleep(1.0)
        assert len(store.batches) - tried <= 6, "it is not asked more and more"
        store.error = None
        await recovered(replica)
        assert replica.keeper.failures > 1


async def test_shares_are_spent_while_a_slow_store_is_being_asked() -> None:
    store = Moody()
    async with running(store, rule(1_000_000)) as replica:
        worker = first(replica)
        for _ in range(30):
            assert await admitted(worker)
            await asyncio.sleep(0.01)
        store.delay_s = 0.08
        results = []
        for _ in range(60):
            results.append(await admitted(worker))
            await asyncio.sleep(0.01)
        assert sum(results) > 55


async def test_a_worker_that_dies_takes_its_share_with_it_and_others_go_on() -> None:
    async with running(MemoryStore(), rule(100), workers=2) as replica:
        assert await admitted(replica.workers[0], 60)
        replica.kill(0)
        assert not await admitted(replica.workers[1], 60)
        assert await admitted(replica.workers[1], 40)


async def test_what_is_held_is_given_back_at_the_end_and_counts_go_on_after_a_restart(tmp_path: Path) -> None:
    for before in (0, 300, 600):
        async with running(SqliteStore(tmp_path / "limits.sqlite"), rule(1_000)) as replica:
            assert await admitted(first(replica), 300)
            (use,) = replica.keeper.uses()
            assert before + 300 <= use.used <= before + 400
    async with running(SqliteStore(tmp_path / "limits.sqlite"), rule(1_000)) as replica:
        assert not await admitted(first(replica), 101)
        await asyncio.sleep(0.15)
        assert await admitted(first(replica), 100)


async def test_a_stop_does_not_wait_for_a_store_that_is_away() -> None:
    store = Moody()
    async with running(store, rule(1_000)) as replica:
        await first(replica).reserve(10)
        store.delay_s = 60.0
        began = monotonic()
    assert monotonic() - began < 1.5
