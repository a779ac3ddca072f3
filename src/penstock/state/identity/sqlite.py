"""The tree in a file of this machine: SQLite, in the data folder."""

import asyncio
import os
import sqlite3
from collections.abc import AsyncIterator, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, suppress
from functools import partial
from pathlib import Path
from typing import TypeVar

from penstock.core.errors import ConfigError
from penstock.state.identity.database import TIMEOUT_S, Query, Row, Value, turn, unavailable
from penstock.state.write_ahead import write_ahead

T = TypeVar("T")


class Sqlite:
    """A Database in one file, which only its owner may read. Statements run in a thread: a disk may be slow.

    It is one thread, so a statement that goes on after its caller was cancelled comes before the rollback, and no
    connection is closed under it, which would crash the process.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._connection: sqlite3.Connection | None = None
        self._turn = asyncio.Lock()
        self._thread = ThreadPoolExecutor(1, "identity")

    @asynccontextmanager
    async def transaction(self, *, write: bool) -> AsyncIterator[Query]:
        async with turn(self._turn, TIMEOUT_S):
            connection = await self._in_thread(self._connected)

            async def query(statement: str, values: Sequence[Value]) -> list[Row]:
                return await self._in_thread(partial(_run, connection, statement, values))

            try:
                await query("BEGIN IMMEDIATE" if write else "BEGIN", ())
                yield query
                await query("COMMIT", ())
            except BaseException:
                # Also when this task is cancelled again: what was begun would hold the file against all who write.
                await asyncio.shield(asyncio.get_running_loop().run_in_executor(self._thread, _undo, connection))
                raise

    async def close(self) -> None:
        async with self._turn:
            await self._in_thread(self._closed)

    async def _in_thread(self, call: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._thread, call)

    def _closed(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _connected(self) -> sqlite3.Connection:
        if self._connection is None:
            try:
                self._path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
                os.close(os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
                made = sqlite3.connect(self._path, timeout=TIMEOUT_S, isolation_level=None, check_same_thread=False)
                write_ahead(made, TIMEOUT_S)
                # A commit is on the disk when it returns.
                made.execute("PRAGMA synchronous=FULL")
            except (OSError, sqlite3.Error) as error:
                why = error.strerror if isinstance(error, OSError) else error
                raise ConfigError(
                    f"store: cannot use {str(self._path)!r}: {why}; give a file in a folder of yours"
                ) from None
            self._connection = made
        return self._connection


def _undo(connection: sqlite3.Connection) -> None:
    with suppress(sqlite3.Error):
        connection.rollback()


def _run(connection: sqlite3.Connection, statement: str, values: Sequence[Value]) -> list[Row]:
    try:
        return connection.execute(statement, values).fetchall()
    except sqlite3.Error as error:
        raise unavailable(error) from None
