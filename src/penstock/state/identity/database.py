"""Where the tree is kept: an SQL database, chosen by the scheme of its URL.

The statements are the store's, and the same for every database; what differs is how a connection is made, how a
transaction begins, and how it fails.
"""

from collections.abc import Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Protocol

from penstock.core.errors import Unavailable

Value = str | int | float | None
Row = tuple[Value, ...]
Query = Callable[[str, Sequence[Value]], Awaitable[list[Row]]]
"""Runs one statement, with `?` for each parameter, inside a transaction. Values never become part of a statement."""

TIMEOUT_S = 5.0
"""No transaction takes longer, whatever the database does."""


class Database(Protocol):
    """One connection's worth of database, used by one task at a time; others wait for their turn."""

    def transaction(self, *, write: bool) -> AbstractAsyncContextManager[Query]:
        """A transaction that sees one state of the database, committed unless the block raises.

        Two that write never overlap, in whatever processes. Raises Unavailable within TIMEOUT_S when the database
        does not answer.
        """

    async def close(self) -> None:
        """Gives the connection back; the next transaction opens another."""


def unavailable(reason: object) -> Unavailable:
    """What a caller of the admin API or the command line is told; never with the database's address."""
    return Unavailable(f"the store of tenants and keys does not answer: {reason}", code="identity_unavailable")
