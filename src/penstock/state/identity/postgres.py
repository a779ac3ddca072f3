"""The tree in PostgreSQL, for replicas that share it."""

import asyncio
import os
import socket
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING

from penstock.core.errors import ConfigError
from penstock.state.identity.database import TIMEOUT_S, Query, Row, Value, turn, unavailable

if TYPE_CHECKING:
    from psycopg import AsyncConnection

BEGIN_READ = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY"
WRITER = 0x70656E73
"""The advisory lock of whoever writes, the first tables included: held until the transaction ends."""


class Postgres:
    """A Database behind a URL. A server that does not answer, frozen ones included, costs TIMEOUT_S and no more."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._connection: AsyncConnection | None = None
        self._turn = asyncio.Lock()

    @asynccontextmanager
    async def transaction(self, *, write: bool) -> AsyncIterator[Query]:
        async with turn(self._turn, TIMEOUT_S):
            connection = await self._connected()

            async def query(statement: str, values: Sequence[Value]) -> list[Row]:
                return await _run(connection, statement, values)

            # A frozen server sends nothing, and libpq would wait for it. An end of the stream it does understand.
            alarm = asyncio.get_running_loop().call_later(TIMEOUT_S, _sever, connection)
            try:
                await query("BEGIN" if write else BEGIN_READ, ())
                if write:
                    await query("SELECT pg_advisory_xact_lock(?)", (WRITER,))
                yield query
                await query("COMMIT", ())
            except BaseException:
                await self._drop()  # the server rolls back what a closed connection left open
                raise
            finally:
                alarm.cancel()

    async def close(self) -> None:
        async with self._turn:
            await self._drop()

    async def _connected(self) -> "AsyncConnection":
        if self._connection is None or self._connection.closed:
            try:
                import psycopg  # noqa: PLC0415 - an extra, and slow to import
            except ImportError:
                raise ConfigError(
                    "store: a postgresql:// URL needs psycopg; run: pip install 'penstock[postgres]'"
                ) from None
            try:
                self._connection = await psycopg.AsyncConnection.connect(
                    self._url, autocommit=True, connect_timeout=round(TIMEOUT_S), application_name="penstock identity"
                )
            except psycopg.ProgrammingError:
                raise ConfigError(
                    "store: the postgresql:// URL is malformed; write postgresql://user@host/name"
                ) from None
            except psycopg.Error as error:
                raise unavailable(f"{type(error).__name__} while connecting") from None
        return self._connection

    async def _drop(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            await connection.close()


async def _run(connection: "AsyncConnection", statement: str, values: Sequence[Value]) -> list[Row]:
    import psycopg  # noqa: PLC0415

    try:
        cursor = await connection.execute(statement.replace("?", "%s"), values)
        return await cursor.fetchall() if cursor.description is not None else []
    except psycopg.Error as error:
        raise unavailable(error.sqlstate or type(error).__name__) from None


def _sever(connection: "AsyncConnection") -> None:
    """Ends the conversation from our side; whoever waits on it gets an error at once."""
    with suppress(OSError):
        copy = socket.socket(fileno=os.dup(connection.fileno()))
        with suppress(OSError):
            copy.shutdown(socket.SHUT_RDWR)
        copy.close()
