"""What tenants use, from the stores themselves: the counts of limits and the ledger."""

import asyncio
import threading
from collections.abc import Sequence
from pathlib import Path

import pytest

from penstock.config.rule import parse_rule
from penstock.config.schema import Config
from penstock.config.state import Ledger, RateLimits, State
from penstock.core.errors import Unavailable
from penstock.core.limit import Level
from penstock.core.tenant import Tenant
from penstock.gateway.platform import Platform
from penstock.gateway.stores import Stores
from penstock.gateway.uses import GROUPS, KEEP_S, Costs, limit_row
from penstock.policy.limit.broker import Use
from penstock.policy.limit.bucket import bucket_of
from penstock.state.ledger.store import Span, StoreAway, Total
from penstock.state.ledger.stores import open_store
from tests.state.ledger.contract import BOOK, batch
from tests.state.ledger.entries import closed

pytestmark = pytest.mark.anyio
DAY = 86_400.0
NOW = 20_000 * DAY + 3_600


def used(text: str, level: Level, used: int, here: int = 0) -> dict[str, object]:
    bucket = bucket_of("own", parse_rule("limits", text, level), Tenant("acme", "search", "k1"), "m")
    return dict(limit_row(Use(bucket, used, here)))


def test_a_limit_says_of_whom_it_is_and_how_far_it_is_used() -> None:
    assert used("total_tokens=1000/minute", Level.TEAM, 250, 100) == {
        "rule": "total_tokens_per_minute",
        "level": "team",
        "subject": "acme/search",
        "own": True,
        "measure": "total_tokens",
        "model": None,
        "window_s": 60.0,
        "span": None,
        "limit": 1000,
        "used": 250,
        "held": 100,
        "part": 0.25,
    }


def test_spend_is_exact_money_and_a_limit_of_nothing_is_full() -> None:
    row = used("spend=2.50/day,each_model", Level.ALL, 1_000_000_001)
    assert (row["limit"], row["used"], row["held"]) == ("2.5", "1.000000001", "0")
    assert (row["subject"], row["span"], row["window_s"], row["model"]) == ("", "day", None, "m")
    row = used("concurrent_requests=0", Level.KEY, 0)
    assert (row["subject"], row["part"], row["span"], row["window_s"]) == ("k1", 1.0, None, None)


def filled(folder: Path) -> None:
    store = open_store("", folder)
    day_before = closed(2, received=NOW - DAY, model="free")
    long_ago = closed(3, received=NOW - 40 * DAY)
    store.ship(batch([closed(1, received=NOW), day_before, long_ago], book=BOOK))
    store.close()


@pytest.fixture
def costs(tmp_path: Path) -> Costs:
    filled(tmp_path)
    from penstock.state.ledger.stores import store_of  # noqa: PLC0415 - not opened yet

    return Costs(store_of("", tmp_path))


async def test_days_are_whole_days_and_today_is_one(costs: Costs) -> None:
    rows = await costs.totals("day", 2, NOW)
    assert [(row["day"], row["requests"], row["unpriced"]) for row in rows] == [
        ("2024-10-03", 1, 1),
        ("2024-10-04", 1, 0),
    ]
    assert rows[1]["last"] == NOW
    assert [row["day"] for row in await costs.totals("day", 1, NOW)] == ["2024-10-04"]
    assert len(await costs.totals("day", 41, NOW)) == 3
    assert len(await costs.totals("day", 366, 5.0)) == 3, "there are no days before the epoch"
    await costs.close()


@pytest.mark.parametrize("by", GROUPS)
async def test_every_group_is_named_in_its_rows(costs: Costs, by: str) -> None:
    rows = await costs.totals(by, 30, NOW)
    assert all(set(GROUPS[by]) <= row.keys() for row in rows)
    assert sum(int(str(row["requests"])) for row in rows) == 2
    assert all(isinstance(row["cost"], str) for row in rows)
    await costs.close()


async def test_an_answer_serves_for_a_while(tmp_path: Path, costs: Costs) -> None:
    before = await costs.totals("day", 1, NOW)
    store = open_store("", tmp_path)
    store.ship(batch([closed(9, received=NOW)], writer="another", book=BOOK))
    store.close()
    assert await costs.totals("day", 1, NOW + KEEP_S - 1) == before
    (today,) = await costs.totals("org", 1, NOW)
    assert today["requests"] == 2
    for later in (NOW + KEEP_S, NOW - 5):  # the clock may be set back
        (today,) = await costs.totals("day", 1, later)
        assert today["requests"] == 2
    await costs.close()


class Hanging:
    """A store that answers when it is aborted."""

    def __init__(self) -> None:
        self.aborted = threading.Event()
        self.asked = threading.Event()
        self.opened = self.closed = 0

    def open(self) -> None:
        self.opened += 1

    def totals(self, by: Sequence[str], span: Span) -> list[Total]:
        self.asked.set()
        assert self.aborted.wait(10)
        raise StoreAway("ledger: broken off")

    def abort(self) -> None:
        self.aborted.set()

    def close(self) -> None:
        self.closed += 1


async def test_a_ledger_that_hangs_is_broken_off_and_opened_anew() -> None:
    store = Hanging()
    costs = Costs(store, patience_s=0.01)
    for times in (1, 2):
        with pytest.raises(Unavailable, match="broken off") as caught:
            await costs.totals("day", 30, NOW)
        assert caught.value.code == "ledger_unavailable"
        assert (store.opened, store.closed) == (times, times)
    await costs.close()
    assert store.closed == 2


async def test_who_leaves_takes_the_thread_along() -> None:
    store = Hanging()
    asking = asyncio.ensure_future(Costs(store).totals("day", 30, NOW))
    assert await asyncio.to_thread(store.asked.wait, 10)
    asking.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asking
    assert store.aborted.is_set()


class Slow:
    """A store that answers when it is told to, aborted or not; two calls at once are an error."""

    def __init__(self) -> None:
        self.asked, self.go_on = threading.Event(), threading.Event()
        self.busy = threading.Lock()
        self.calls: list[str] = []

    def _call(self, name: str) -> None:
        assert self.busy.acquire(blocking=False)
        self.calls.append(name)
        self.asked.set()
        assert self.go_on.wait(10)
        self.busy.release()

    def open(self) -> None:
        self._call("open")

    def totals(self, by: Sequence[str], span: Span) -> list[Total]:
        self._call("totals")
        return []

    def abort(self) -> None:
        pass

    def close(self) -> None:
        self._call("close")


async def test_a_connection_is_not_closed_under_a_question_whose_asker_left() -> None:
    store = Slow()
    costs = Costs(store)
    asking = asyncio.ensure_future(costs.totals("day", 30, NOW))
    assert await asyncio.to_thread(store.asked.wait, 10)
    for _ in range(2):  # after the second one nobody waits for the thread
        asking.cancel()
        await asyncio.sleep(0.01)
    assert asking.cancelled()
    closing = asyncio.ensure_future(costs.close())
    await asyncio.sleep(0.05)
    assert store.calls == ["open"]
    store.go_on.set()
    await closing
    assert store.calls == ["open", "totals", "close"]


async def test_a_store_of_a_newer_penstock_is_said_and_not_read(tmp_path: Path, costs: Costs) -> None:
    import sqlite3  # noqa: PLC0415 - to write what no Penstock of today does

    with sqlite3.connect(tmp_path / "ledger" / "ledger.sqlite") as connection:
        connection.execute("UPDATE ledger_schema SET version = 99")
    connection.close()
    with pytest.raises(Unavailable, match="version 99"):
        await costs.totals("day", 30, NOW)
    await costs.close()


async def test_a_platform_without_tenants_says_so() -> None:
    platform = Platform("")
    assert platform.limits() is None
    assert await platform.costs("day", 30) is None
    assert await platform.fairness() is None
    assert platform.about()["tenants"] is False
    platform.stores = Stores(Config(), list)
    assert platform.limits() is None
    assert await platform.costs("day", 30) is None


async def test_a_platform_tells_what_its_stores_keep(tmp_path: Path) -> None:
    config = Config(
        state=State(folder=str(tmp_path)),
        rate_limits=RateLimits(key=("requests=5/minute",)),
        ledger=Ledger(enabled=True),
    )
    platform = Platform("")
    platform.stores = Stores(config, list)
    await platform.stores.open()
    try:
        told = platform.limits()
        assert told is not None
        assert (told.rows, told.problem) == ([], "")
        found = await platform.costs("day", 30)
        assert found is not None
        assert (found.rows, found.problem) == ([], "")
    finally:
        await platform.stores.close()
