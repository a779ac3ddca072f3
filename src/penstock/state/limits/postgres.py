"""Accounts in PostgreSQL, for several replicas: one function per batch, the server's clock, rows locked in id order."""

from __future__ import annotations

import asyncio
import os
import socket
from importlib import import_module
from importlib.resources import files
from typing import TYPE_CHECKING

import msgspec

from penstock.core.clock import monotonic
from penstock.core.errors import ConfigError
from penstock.policy.limit.account import FORGOTTEN_US
from penstock.policy.limit.statement import Answer, Answers, Batch
from penstock.policy.limit.window import SLICES
from penstock.state.limits.store import Now, StoreAway

if TYPE_CHECKING:
    from psycopg import AsyncConnection

SWEEP_S = 60.0
LOCK = 0x70656E73
"""Advisory lock under which one replica at a time makes the tables."""
EXCHANGE = "select * from penstock_limit_exchange_1(%s, %s, %s, %s, %s, %s, %s::jsonb)"


class PostgresStore:
    """See LimitStore. Makes its tables and functions when it first connects. `now` is for tests."""

    def __init__(self, url: str, now: Now | None = None) -> None:
        try:
            self._psycopg = import_module("psycopg")
        except ImportError as error:
            fix = "pip install 'penstock[postgres]'"
            raise ConfigError(f"limits: {url!r} needs the client of PostgreSQL: {fix}") from error
        try:
            self._psycopg.conninfo.make_conninfo(url)
        except self._psycopg.ProgrammingError as error:
            raise ConfigError(f"limits: {url!r} is no URL of PostgreSQL: {error}") from error
        self._url = url
        self._now = now
        self._connection: AsyncConnection | None = None
        self._sweep_at = 0.0

    async def exchange(self, batch: Batch) -> Answers:
        """See LimitStore."""
        # psycopg answers a cancel by asking the server to cancel, and waits for it: a server that is frozen never does.
        work = asyncio.ensure_future(self._exchange(batch))
        try:
            return await asyncio.shield(work)
        except (self._psycopg.Error, OSError) as error:
            await self._drop()
            raise StoreAway(f"PostgreSQL: {error}") from error
        except asyncio.CancelledError:
            if not self._hang_up():
                work.cancel()
            await asyncio.wait((work,))
            if not work.cancelled():
                work.exception()
            await self._drop()
            raise

    async def close(self) -> None:
        """See LimitStore."""
        await self._drop()

    async def _exchange(self, batch: Batch) -> Answers:
        connection = self._connection or await self._connect()
        clock = None if self._now is None else self._now()
        statements = msgspec.json.encode(batch.statements).decode()
        values = (clock, batch.holder, batch.number, batch.lease_us, FORGOTTEN_US, SLICES, statements)
        async with connection.cursor() as cursor:
            await cursor.execute(EXCHANGE, values)
            rows = sorted(await cursor.fetchall())
            if monotonic() >= self._sweep_at and clock is None:
                self._sweep_at = monotonic() + SWEEP_S
                await cursor.execute("select penstock_limit_sweep_1()")
        answers = tuple(
            Answer(granted, used, fair, {int(number): amount for number, amount in (spent or {}).items()})
            for _, _, granted, used, fair, spent in rows
        )
        return Answers(max((row[1] for row in rows), default=0), answers)

    async def _connect(self) -> AsyncConnection:
        connect = self._psycopg.AsyncConnection.connect
        connection: AsyncConnection = await connect(self._url, autocommit=True)
        self._connection = connection
        schema = files(__package__).joinpath("exchange.sql").read_text(encoding="utf-8")
        async with connection.transaction():
            await connection.execute("set local client_min_messages = warning")
            await connection.execute("select pg_advisory_xact_lock(%s)", (LOCK,))
            await connection.execute(schema)
        return connection

    def _hang_up(self) -> bool:
        """Ends the connection under whoever waits on it. False: there is none yet."""
        if self._connection is None or self._connection.closed:
            return False
        with socket.socket(fileno=os.dup(self._connection.fileno())) as line:
            line.shutdown(socket.SHUT_RDWR)
        return True

    async def _drop(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            await connection.close()
