"""The ledger in SQLite, in the data folder."""

import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from penstock.state.ledger.sql import Sql
from penstock.state.ledger.store import Store, StoreAway

FILE = "ledger.sqlite"
WAIT_S = 5.0
"""For another process that writes."""


class Connection:
    """A connection whose errors are StoreAway, and whose transactions take the write lock at once."""

    def __init__(self, path: Path) -> None:
        try:
            path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            self._sqlite = sqlite3.connect(path, timeout=WAIT_S, isolation_level=None, check_same_thread=False)
            path.chmod(0o600)
            # Readers never block the writer. FULL: a journal is deleted only when its charges are on the disk.
            self._sqlite.execute("PRAGMA journal_mode = WAL")
            self._sqlite.execute("PRAGMA synchronous = FULL")
        except (sqlite3.Error, OSError) as error:
            raise StoreAway(f"ledger: cannot open {path}: {error}") from error

    def execute(self, statement: str, values: Sequence[Any] = ()) -> sqlite3.Cursor:
        try:
            return self._sqlite.execute(statement, values)
        except sqlite3.Error as error:
            raise StoreAway(f"ledger: SQLite: {error}") from error

    def executemany(self, statement: str, rows: Iterable[Sequence[Any]]) -> None:
        try:
            self._sqlite.executemany(statement, rows)
        except sqlite3.Error as error:
            raise StoreAway(f"ledger: SQLite: {error}") from error

    def stream(self, statement: str, values: Sequence[Any]) -> Iterator[Any]:
        try:
            yield from self._sqlite.execute(statement, values)
        except sqlite3.Error as error:
            raise StoreAway(f"ledger: SQLite: {error}") from error

    @contextmanager
    def transaction(self) -> Iterator[None]:
        self.execute("BEGIN IMMEDIATE")
        try:
            yield
            self.execute("COMMIT")
        except BaseException:
            if self._sqlite.in_transaction:
                self._sqlite.rollback()
            raise

    def close(self) -> None:
        self._sqlite.close()


def open_sqlite(url: str, folder: Path) -> Store:
    """`sqlite:///path/of/file`; empty: `ledger/ledger.sqlite` in the data folder."""
    path = unquote(url.removeprefix("sqlite://"))
    connection = Connection(Path(path) if path else folder / "ledger" / FILE)
    store = Sql(connection, "?")
    with connection.transaction():
        store.create()
    return store
