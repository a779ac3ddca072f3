"""The ledger in PostgreSQL, which several replicas may share."""

import os
import socket
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any

from penstock.core.errors import ConfigError
from penstock.state.ledger.sql import Sql
from penstock.state.ledger.store import Store, StoreAway

try:
    import psycopg
except ImportError as error:
    raise ConfigError("ledger.url: PostgreSQL needs a client; pip install 'penstock[postgres]'") from error

CONNECT_S = 5
STATEMENT_MS = 30_000
SCHEMA_LOCK = 0x70_6E_73_74_6C_64_67_72
"""Advisory lock of those who make the tables: replicas start together."""


class Connection:
    """A connection whose errors are StoreAway. A broken one is made again by the next call."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._open: psycopg.Connection[Any] | None = None

    def execute(self, statement: str, values: Sequence[Any] = ()) -> psycopg.Cursor[Any]:
        try:
            return self._connection().execute(statement.encode(), values)
        except psycopg.Error as error:
            raise self._away(error) from error

    def executemany(self, statement: str, rows: Iterable[Sequence[Any]]) -> None:
        try:
            with self._connection().cursor() as cursor:
                cursor.executemany(statement.encode(), rows)
        except psycopg.Error as error:
            raise self._away(error) from error

    def stream(self, statement: str, values: Sequence[Any]) -> Iterator[Any]:
        try:
            with self._connection().cursor() as cursor:
                yield from cursor.stream(statement.encode(), values)
        except psycopg.Error as error:
            raise self._away(error) from error

    @contextmanager
    def transaction(self) -> Iterator[None]:
        try:
            with self._connection().transaction():
                yield
        except psycopg.Error as error:
            raise self._away(error) from error

    def lock_schema(self) -> None:
        self.execute("SELECT pg_advisory_xact_lock(%s)", (SCHEMA_LOCK,))

    def abort(self) -> None:
        connection = self._open
        if connection is not None and not connection.closed:
            with suppress(OSError, psycopg.Error), socket.socket(fileno=os.dup(connection.fileno())) as wire:
                wire.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        if self._open is not None:
            self._open.close()
            self._open = None

    def _connection(self) -> "psycopg.Connection[Any]":
        if self._open is None or self._open.closed:
            self._open = psycopg.connect(
                self._url,
                autocommit=True,
                connect_timeout=CONNECT_S,
                application_name="penstock ledger",
                options=f"-c statement_timeout={STATEMENT_MS}",
                # A server that no longer answers must not hold a shipper for the minutes TCP would.
                keepalives_idle=5,
                keepalives_interval=2,
                keepalives_count=3,
                tcp_user_timeout=15_000,
            )
        return self._open

    def _away(self, error: "psycopg.Error") -> StoreAway:
        self.close()
        return StoreAway(f"ledger: PostgreSQL: {' '.join(str(error).split())}")


def postgres_store(url: str) -> Store:
    """`postgresql://user:password@host:port/name`. No error repeats the URL: it may hold a password."""
    if not url.startswith(("postgresql://", "postgres://")):
        raise ConfigError("ledger.url: write postgresql://user@host/name")
    return Sql(Connection(url), "%s")
