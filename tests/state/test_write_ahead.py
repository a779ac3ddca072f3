"""Several processes that open one new SQLite file at once."""

import sqlite3
import threading
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from penstock.state.write_ahead import write_ahead


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "new.sqlite"


def connected(path: Path) -> sqlite3.Connection:
    return sqlite3.connect(path, timeout=5, isolation_level=None, check_same_thread=False)


@pytest.fixture
def writer(path: Path) -> Iterator[sqlite3.Connection]:
    """Another process in the middle of a write: SQLite refuses to switch beside it without waiting."""
    with closing(connected(path)) as other:
        other.execute("BEGIN IMMEDIATE")
        other.execute("CREATE TABLE other (one)")
        yield other


def test_a_writer_is_waited_for(path: Path, writer: sqlite3.Connection) -> None:
    threading.Timer(0.2, writer.execute, ("COMMIT",)).start()
    with closing(connected(path)) as connection:
        write_ahead(connection, 5)
        assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)
        assert connection.execute("SELECT count(*) FROM other").fetchone() == (0,)


def test_the_wait_ends(path: Path, writer: sqlite3.Connection) -> None:
    with closing(connected(path)) as connection, pytest.raises(sqlite3.OperationalError, match="locked"):
        write_ahead(connection, 0.1)


def test_what_is_no_database_is_told_at_once(path: Path) -> None:
    path.write_bytes(b"no database, " * 100)
    with closing(connected(path)) as connection, pytest.raises(sqlite3.DatabaseError, match="not a database"):
        write_ahead(connection, 60)
