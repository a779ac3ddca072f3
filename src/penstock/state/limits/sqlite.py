"""Accounts in an SQLite file: the default. Counters survive a restart; several replicas of one machine may share it.

A commit does not wait for the disk (WAL, `synchronous=normal`): a crash of the process loses nothing, one of the
machine the last moments.
"""

import asyncio
import sqlite3
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from pathlib import Path

import msgspec

from penstock.core.errors import ConfigError
from penstock.policy.limit.account import Account
from penstock.policy.limit.statement import Answers, Batch
from penstock.state.limits.store import Now, StoreAway, steady
from penstock.state.write_ahead import write_ahead

SWEEP_US = 60_000_000
BUSY_S = 1.0
"""So long it waits for another process that writes."""
SCHEMA = """
create table if not exists limit_account (
    bucket text primary key, account blob not null, seen_us integer not null, ends_us integer not null
) without rowid;
create index if not exists limit_account_ends on limit_account (ends_us);
"""


class SqliteStore:
    """See LimitStore. Raises ConfigError when the file cannot be used. `sweep_us`: see MemoryStore."""

    def __init__(self, path: Path, now: Now | None = None, sweep_us: int = SWEEP_US) -> None:
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._base = sqlite3.connect(path, timeout=BUSY_S, isolation_level=None, check_same_thread=False)
            write_ahead(self._base, BUSY_S)
            self._base.execute("pragma synchronous=normal")
            self._base.executescript(SCHEMA)
            (seen_us,) = self._base.execute("select coalesce(max(seen_us), 0) from limit_account").fetchone()
        except (OSError, sqlite3.Error) as error:
            raise ConfigError(f"limits: cannot use {path}: {error}; remove the file or name another") from error
        self._now = now or steady(seen_us)
        self._sweep_us = sweep_us
        self._sweep_at_us = self._now() + sweep_us
        # One thread: exchanges are written one after the other, even when one was given up on.
        self._thread = ThreadPoolExecutor(1, "limits")
        self._decode = msgspec.msgpack.Decoder(Account).decode
        self._encode = msgspec.msgpack.Encoder().encode

    async def exchange(self, batch: Batch) -> Answers:
        """See LimitStore."""
        try:
            return await asyncio.get_running_loop().run_in_executor(self._thread, self._exchange, batch)
        except (sqlite3.Error, msgspec.MsgspecError) as error:
            raise StoreAway(f"the SQLite file of limits: {error}") from error

    async def close(self) -> None:
        """See LimitStore."""
        await asyncio.get_running_loop().run_in_executor(self._thread, self._base.close)
        self._thread.shutdown()

    def _exchange(self, batch: Batch) -> Answers:
        answers = []
        with self._transaction():
            # Read when nobody else writes any more, so that times do not run back between two replicas.
            now_us = self._now()
            for statement in batch.statements:
                bucket = statement.bucket
                with closing(
                    self._base.execute("select account from limit_account where bucket = ?", (bucket.id,))
                ) as rows:
                    row = rows.fetchone()
                account = self._decode(row[0]) if row else Account()
                answers.append(account.exchange(batch, statement, now_us))
                values = (bucket.id, self._encode(account), account.seen_us, account.ends_us(bucket))
                self._base.execute("insert or replace into limit_account values (?, ?, ?, ?)", values)
            if now_us >= self._sweep_at_us:
                self._sweep_at_us = now_us + self._sweep_us
                self._base.execute("delete from limit_account where ends_us < ?", (now_us,))
        return Answers(now_us, tuple(answers))

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        self._base.execute("begin immediate")
        try:
            yield
        except BaseException:
            self._base.execute("rollback")
            raise
        self._base.execute("commit")
