"""Where the tree is kept: an SQL database, chosen by the scheme of its URL.

The statements are the store's, and the same for every database; what differs is how a connection is made, how a
transaction begins, and how it fails.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Protocol

from penstock.core.errors import Unavailable

Value = str | int | float | None
Row = tuple[Value, ...]
Query = Callable[[str, Sequence[Value]], Awaitable[list[Row]]]
"""Runs one statement, with `?` for each parameter, inside a transaction. Values never become part of a statement."""

TIMEOUT_S = 5.0
"""No step of a transaction takes longer, whatever the database does."""


class Database(Protocol):
    """One connection's worth of database, used by one task at a time; others wait for their turn."""

    def transaction(self, *, write: bool) -> AbstractAsyncContextManager[Query]:
        """A transaction that sees one state of the database, committed unless the block raises.

        Two that write never overlap, in whatever processes. Raises Unavailable when the database does not answer:
        after TIMEOUT_S for its turn, another to connect, and another to work.
        """

    async def close(self) -> None:
        """Gives the connection back; the next transaction opens another."""


@asynccontextmanager
async def turn(lock: asyncio.Lock, timeout_s: float) -> AsyncIterator[None]:
    """Holds `lock`. Raises Unavailable when that takes too long: who is in front waits for the database."""
    try:
        async with asyncio.timeout(timeout_s):
            await lock.acquire()
    except TimeoutError:
        raise unavailable("others wait for it already") from None
    try:
        yield
    finally:
        lock.release()


def unavailable(reason: object) -> Unavailable:
    """What a caller of the admin API or the command line is told; never with the database's address."""
    return Unavailable(f"the store of tenants and keys does not answer: {reason}", code="identity_unavailable")
