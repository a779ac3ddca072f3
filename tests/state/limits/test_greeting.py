"""A replica speaks with its store before anybody asks for tokens, and goes on without it."""

import asyncio
from contextlib import suppress

import pytest

from penstock.policy.limit.broker import Broker
from penstock.policy.limit.bucket import Bucket
from penstock.policy.limit.messages import Grants, Want, Wants
from penstock.policy.limit.statement import Answers, Batch
from penstock.state.limits.keeper import NOTHING, Keeper
from penstock.state.limits.memory import MemoryStore
from penstock.state.limits.store import StoreAway

pytestmark = pytest.mark.anyio

BUCKET = Bucket("tokens", 100, 60_000_000)


class Watched(MemoryStore):
    """Notes what it is told, and is away for the first `away` exchanges."""

    def __init__(self, away: int = 0) -> None:
        super().__init__()
        self.batches: list[Batch] = []
        self._away = away

    async def exchange(self, batch: Batch) -> Answers:
        self.batches.append(batch)
        if len(self.batches) <= self._away:
            raise StoreAway("it is not there")
        return await super().exchange(batch)


async def granted(store: Watched) -> tuple[list[Batch], int, str]:
    """What the store was told before somebody asked, what was then granted, and the keeper's problem before."""
    told: asyncio.Queue[Grants] = asyncio.Queue()
    keeper = Keeper(Broker("replica", 3.0), store, lambda worker, grants: told.put_nowait(grants))
    running = asyncio.ensure_future(keeper.run())
    await asyncio.sleep(0.05)
    before, problem = list(store.batches), keeper.problem
    keeper.heard(1, Wants(1, (Want(BUCKET, least=10, need=10),)))
    async with asyncio.timeout(30):
        grants = await told.get()
    running.cancel()
    with suppress(asyncio.CancelledError):
        await running
    await keeper.close()
    return before, grants.grants[0].amount, problem


async def test_it_connects_before_anybody_asks() -> None:
    assert await granted(Watched()) == ([NOTHING], 10, "")


async def test_a_store_that_is_away_at_the_start_is_asked_again_when_it_is_needed() -> None:
    assert await granted(Watched(away=1)) == ([NOTHING], 10, "it is not there")
