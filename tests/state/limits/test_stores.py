"""Stores without a server: they say what an account means, and survive a restart."""

import asyncio
import sqlite3
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given, settings

from penstock.core.errors import ConfigError
from penstock.policy.limit.bucket import Bucket
from penstock.policy.limit.statement import Batch, Statement
from penstock.state.limits.memory import MemoryStore
from penstock.state.limits.postgres import PostgresStore
from penstock.state.limits.redis import RedisStore
from penstock.state.limits.sqlite import SqliteStore
from penstock.state.limits.store import LimitStore, StoreAway, steady
from penstock.state.limits.stores import FILE, open_store
from tests.gateway.fuzzing import QUICK
from tests.state.limits.exchanges import SEEDS, Meaning, exchanges

NEVER_US = 2**60
MINUTE = Bucket("tokens", 100, 60_000_000)


def batch(number: int, spent: int = 0, need: int = 0, holder: str = "a") -> Batch:
    return Batch(holder, number, 3_000_000, (Statement(MINUTE, 0, spent, (), number, need, need),))


@settings(QUICK, max_examples=30)
@given(seed=SEEDS)
def test_the_store_in_memory_says_what_an_account_means(seed: int) -> None:
    clock = [0]
    store, meaning = MemoryStore(lambda: clock[0], NEVER_US), Meaning()

    async def play() -> None:
        for now_us, each in exchanges(seed, "x"):
            clock[0] = now_us
            assert await store.exchange(each) == meaning(now_us, each)

    asyncio.run(play())


@settings(QUICK, max_examples=10)
@given(seed=SEEDS)
def test_sqlite_says_what_an_account_means_across_restarts(seed: int) -> None:
    clock = [0]
    meaning = Meaning()

    async def play(path: Path) -> None:
        store = SqliteStore(path, lambda: clock[0], NEVER_US)
        for place, (now_us, each) in enumerate(exchanges(seed, "x")):
            clock[0] = now_us
            assert await store.exchange(each) == meaning(now_us, each)
            if place % 20 == 19:
                await store.close()
                store = SqliteStore(path, lambda: clock[0], NEVER_US)
        await store.close()

    with TemporaryDirectory() as folder:
        asyncio.run(play(Path(folder) / "limits.sqlite"))


@pytest.mark.anyio
async def test_sqlite_forgets_what_counts_no_more(tmp_path: Path) -> None:
    clock = [10**15]
    store = SqliteStore(tmp_path / FILE, lambda: clock[0])
    await store.exchange(batch(1, spent=5))
    clock[0] += 200_000_000
    await store.exchange(Batch("a", 2, 3_000_000, (Statement(Bucket("other", 1), 0),)))
    await store.close()
    with sqlite3.connect(tmp_path / FILE) as base:
        assert base.execute("select bucket from limit_account").fetchall() == [("other",)]
    base.close()


@pytest.mark.anyio
async def test_two_replicas_of_one_machine_share_a_file(tmp_path: Path) -> None:
    one, two = SqliteStore(tmp_path / FILE), SqliteStore(tmp_path / FILE)
    assert (await one.exchange(batch(1, need=70))).answers[0].granted == 70
    assert (await two.exchange(batch(1, need=70, holder="b"))).answers[0].granted == 0
    await one.close()
    await two.close()


@pytest.mark.anyio
async def test_a_file_that_is_locked_or_damaged_is_away_and_then_there_again(tmp_path: Path) -> None:
    store = SqliteStore(tmp_path / FILE)
    other = sqlite3.connect(tmp_path / FILE, isolation_level=None)
    other.execute("begin immediate")
    with pytest.raises(StoreAway, match="locked"):
        await store.exchange(batch(1))
    other.execute("rollback")
    assert (await store.exchange(batch(2, need=1))).answers[0].granted == 1
    other.execute("update limit_account set account = x'ff'")
    other.close()
    with pytest.raises(StoreAway):
        await store.exchange(batch(3))
    await store.close()


def test_a_file_that_is_no_database_is_refused_at_the_start(tmp_path: Path) -> None:
    (tmp_path / FILE).write_text("not a database, and long enough to be read as one" * 100)
    with pytest.raises(ConfigError, match=r"limits: cannot use .*limits\.sqlite"):
        SqliteStore(tmp_path / FILE)


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("url", "kind"),
    [
        ("memory:", MemoryStore),
        ("sqlite:", SqliteStore),
        ("redis://127.0.0.1:1/0", RedisStore),
        ("rediss://127.0.0.1:1/0", RedisStore),
        ("postgres://127.0.0.1:1/x", PostgresStore),
        ("postgresql://127.0.0.1:1/x", PostgresStore),
    ],
)
async def test_a_url_names_a_store(url: str, kind: type[LimitStore], tmp_path: Path) -> None:
    store = open_store(url, tmp_path)
    assert type(store) is kind
    await store.close()


@pytest.mark.anyio
async def test_a_file_may_be_named(tmp_path: Path) -> None:
    await open_store(f"sqlite:{tmp_path}/deep/one.sqlite", tmp_path).close()
    assert (tmp_path / "deep" / "one.sqlite").exists()


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("mysql://x", "unknown store of limits 'mysql'; known: memory"),
        ("redis://127.0.0.1:no/0", "is no URL of Redis"),
        ("postgresql://host/x?nonsense=1", "is no URL of PostgreSQL"),
    ],
)
def test_a_url_that_names_none_is_refused(url: str, says: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=says):
        open_store(url, tmp_path)


@pytest.mark.anyio
@pytest.mark.parametrize("url", ["redis://127.0.0.1:1/0", "postgresql://127.0.0.1:1/x"])
async def test_a_server_that_is_not_there_is_away(url: str, tmp_path: Path) -> None:
    store = open_store(url, tmp_path)
    with pytest.raises(StoreAway):
        await store.exchange(batch(1))
    await store.close()


def test_the_clock_of_a_store_without_a_server_goes_on_from_what_was_seen() -> None:
    ahead = 2**52
    now = steady(ahead)
    first = now()
    assert first >= ahead
    assert now() >= first
    assert 1.7e15 < steady()() < 4e15
