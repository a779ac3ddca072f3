"""The store in SQLite, and what is said when it cannot be used."""

import asyncio
import sqlite3
import stat
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from penstock.config.state import State, data_folder
from penstock.core.errors import ConfigError, PenstockError, Unavailable
from penstock.core.tasks import Tasks
from penstock.state.identity import sqlite as module
from penstock.state.identity.database import Row, Value
from penstock.state.identity.fields import KeyFields, OrgFields
from penstock.state.identity.open import identity_url, open_store
from penstock.state.identity.store import Store
from tests.state.identity.contract import NOW, StoreContract


class TestSqlite(StoreContract):
    @pytest.fixture
    def again(self, tmp_path: Path) -> Callable[[], Store]:
        return lambda: open_store(f"sqlite:{tmp_path / 'data' / 'identity.db'}")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "data" / "identity.db"


@pytest.mark.anyio
async def test_only_its_owner_may_read_the_file(path: Path) -> None:
    store = open_store(f"sqlite:{path}")
    await store.create_org("acme", OrgFields(), NOW)
    for each in (path, path.with_name("identity.db-wal")):
        assert stat.S_IMODE(each.stat().st_mode) == 0o600, each
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    await store.close()


@pytest.mark.anyio
async def test_no_secret_reaches_the_disk(path: Path) -> None:
    store = open_store(f"sqlite:{path}")
    first = await store.create_key("", "", KeyFields(), NOW)
    second = await store.rotate_key(first.key.id, 60.0, NOW)
    written = b"".join(each.read_bytes() for each in path.parent.iterdir())
    await store.close()
    assert first.key.id.encode() in written
    for issued in (first, second):
        assert issued.secret.reveal().rpartition("-")[2].encode() not in written


@pytest.mark.anyio
async def test_a_store_of_a_newer_penstock_is_left_alone(path: Path) -> None:
    store = open_store(f"sqlite:{path}")
    await store.version()
    await store.close()
    with sqlite3.connect(path) as connection:
        connection.execute("UPDATE identity_state SET tables = 99")
    connection.close()
    with pytest.raises(ConfigError, match="version 99, this Penstock knows 1; upgrade"):
        await open_store(f"sqlite:{path}").version()


@pytest.mark.anyio
async def test_a_row_of_a_newer_penstock_is_not_guessed_at(path: Path) -> None:
    store = open_store(f"sqlite:{path}")
    await store.create_org("acme", OrgFields(limits=("requests=1/minute",)), NOW)
    await store.close()
    with sqlite3.connect(path) as connection:
        connection.execute("UPDATE identity_org SET body = replace(body, 'requests', 'wishes')")
    connection.close()
    with pytest.raises(Unavailable, match="newer Penstock"):
        await store.snapshot(NOW)
    await store.close()


@pytest.mark.anyio
async def test_a_locked_store_is_unavailable_and_not_waited_for(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "TIMEOUT_S", 0.1)
    store = open_store(f"sqlite:{path}")
    await store.version()
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(Unavailable, match="locked") as refused:
        await store.create_org("acme", OrgFields(), NOW)
    assert refused.value.code == "identity_unavailable"
    assert await store.version() == 0
    other.execute("ROLLBACK")
    other.close()
    await store.create_org("acme", OrgFields(), NOW)
    await store.close()


@pytest.fixture
def nonsense(tmp_path: Path) -> Path:
    path = tmp_path / "nonsense"
    path.write_bytes(b"no database at all" * 100)
    return path


@pytest.mark.anyio
async def test_a_file_that_is_no_database(nonsense: Path) -> None:
    store = open_store(f"sqlite:{nonsense}")
    with pytest.raises(PenstockError, match="not a database"):
        await store.version()
    await store.close()


@pytest.mark.anyio
async def test_a_folder_that_cannot_be_used(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(ConfigError, match="cannot use"):
        await open_store(f"sqlite:{tmp_path / 'file' / 'identity.db'}").version()


@pytest.mark.parametrize(
    ("url", "part"),
    [
        ("identity.db", "no URL"),
        ("", "no URL"),
        ("mysql://u:hush@h/d", "unknown kind of store 'mysql'; known: postgres, postgresql, sqlite"),
        ("sqlite:", "names no file"),
        ("sqlite://", "names no file"),
    ],
)
def test_a_url_that_opens_nothing(url: str, part: str) -> None:
    with pytest.raises(ConfigError, match=part) as refused:
        open_store(url)
    assert "hush" not in str(refused.value)


def test_where_tenants_are_kept_by_default(tmp_path: Path) -> None:
    assert identity_url(State(folder=str(tmp_path))) == f"sqlite:{tmp_path}/identity.db"
    assert identity_url(State(url="postgresql://h/n")) == "postgresql://h/n"
    home = Path("/h")
    assert data_folder("", {}, home) == Path("/h/.local/share/penstock")
    assert data_folder("", {"XDG_DATA_HOME": "relative"}, home) == data_folder("", {}, home)
    assert data_folder("", {"XDG_DATA_HOME": "/x"}, home) == Path("/x/penstock")
    assert data_folder("", {"PENSTOCK_DATA": "/d", "XDG_DATA_HOME": "/x"}, home) == Path("/d")


@pytest.mark.anyio
async def test_nobody_waits_for_its_turn_for_ever(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "TIMEOUT_S", 0.1)
    database = module.Sqlite(path)
    async with database.transaction(write=False):
        with pytest.raises(Unavailable, match="others wait"):
            await Store(database).version()
    assert await Store(database).version() == 0
    await database.close()


LONG = "WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n WHERE x < 2000000) SELECT count(*) FROM n"


@pytest.mark.anyio
async def test_a_connection_is_not_closed_under_a_statement_whose_caller_left(path: Path) -> None:
    """SQLite's binding crashes the process then. Who is cancelled twice waits for nothing any more."""
    database = module.Sqlite(path)
    tasks, asked = Tasks(), asyncio.Event()

    async def ask() -> None:
        async with database.transaction(write=True) as query:
            asked.set()
            await query(LONG, ())

    for _ in range(5):
        asked.clear()
        asking = tasks.spawn(ask())
        await asked.wait()
        for _ in range(2):
            await asyncio.sleep(0.01)
            asking.cancel()
        await asyncio.wait({asking})
        assert asking.cancelled()
        await database.close()
    assert await Store(database).version() == 0
    await database.close()


@pytest.mark.anyio
@pytest.mark.parametrize("statement", ["BEGIN IMMEDIATE", LONG])
async def test_nothing_stays_begun_when_a_caller_is_cancelled_again_and_again(
    path: Path, monkeypatch: pytest.MonkeyPatch, statement: str
) -> None:
    database, other = module.Sqlite(path), module.Sqlite(path)
    await Store(other).version()
    asked, tasks, run = threading.Event(), Tasks(), module._run

    def slow(connection: sqlite3.Connection, text: str, values: Sequence[Value]) -> list[Row]:
        if text == statement:
            asked.set()
            time.sleep(0.1)
        return run(connection, text, values)

    async def ask() -> None:
        async with database.transaction(write=True) as query:
            await query(LONG, ())

    monkeypatch.setattr(module, "_run", slow)
    asking = tasks.spawn(ask())
    await asyncio.to_thread(asked.wait, 10)
    for _ in range(3):
        asking.cancel()
        await asyncio.sleep(0.01)
    assert asking.cancelled()
    monkeypatch.setattr(module, "_run", run)
    for each in (other, database):
        await Store(each).create_org(f"o{id(each)}", OrgFields(), NOW)
        await each.close()
