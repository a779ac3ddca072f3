"""The ledger in SQLite, in the data folder."""

import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from penstock.core.errors import ConfigError
from penstock.state.ledger.sql import Sql
from penstock.state.ledger.store import Store, StoreAway
from penstock.state.write_ahead import write_ahead

FILE = "ledger.sqlite"
WAIT_S = 5.0
"""For another process that writes."""


class Connection:
    """A connection whose errors are StoreAway, and whose transactions take the write lock at once."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._sqlite: sqlite3.Connection | None = None

    def execute(self, statement: str, values: Sequence[Any] = ()) -> sqlite3.Cursor:
        try:
            return self._connection().execute(statement, values)
        except sqlite3.Error as error:
            raise StoreAway(f"ledger: SQLite: {error}") from error

    def executemany(self, statement: str, rows: Iterable[Sequence[Any]]) -> None:
        try:
            self._connection().executemany(statement, rows)
        except sqlite3.Error as error:
            raise StoreAway(f"ledger: SQLite: {error}") from error

    def stream(self, statement: str, values: Sequence[Any]) -> Iterator[Any]:
        try:
            yield from self._connection().execute(statement, values)
        except sqlite3.Error as error:
            raise StoreAway(f"ledger: SQLite: {error}") from error

    @contextmanager
    def transaction(self) -> Iterator[None]:
        self.execute("BEGIN IMMEDIATE")
        try:
            yield
            self.execute("COMMIT")
        except BaseException:
            if self._connection().in_transaction:
                self._connection().rollback()
            raise

    def lock_schema(self) -> None:
        """A transaction is alone from its beginning."""

    def abort(self) -> None:
        if self._sqlite is not None:
            with suppress(sqlite3.ProgrammingError):  # the thread that uses it may just close it
                self._sqlite.interrupt()

    def close(self) -> None:
        if self._sqlite is not None:
            self._sqlite.close()
            self._sqlite = None

    def _connection(self) -> sqlite3.Connection:
        if self._sqlite is None:
            self._sqlite = _connect(self._path)
        return self._sqlite


def _connect(path: Path) -> sqlite3.Connection:
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        connection = sqlite3.connect(path, timeout=WAIT_S, isolation_level=None, check_same_thread=False)
        path.chmod(0o600)
        write_ahead(connection, WAIT_S)
        # FULL: a journal is deleted only when its charges are on the disk.
        connection.execute("PRAGMA synchronous = FULL")
    except (sqlite3.Error, OSError) as error:
        raise StoreAway(f"ledger: cannot open {path}: {error}") from error
    return connection


def sqlite_store(url: str, folder: Path) -> Store:
    """`sqlite:PATH`; without a path `ledger/ledger.sqlite` in the data folder."""
    path = unquote(url.removeprefix("sqlite:").removeprefix("//"))
    if "\0" in path:
        raise ConfigError("ledger.url: the URL names no file; write sqlite:PATH")
    return Sql(Connection(Path(path) if path else folder / "ledger" / FILE), "?")
