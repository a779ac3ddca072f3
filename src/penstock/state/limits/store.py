"""What a store of limits does. Which one is chosen by URL: `stores.open_store`."""

from collections.abc import Callable
from typing import Protocol

from penstock.core.clock import monotonic, wall
from penstock.core.errors import PenstockError
from penstock.policy.limit.statement import Answers, Batch

Now = Callable[[], int]
"""The store's clock: microseconds since the epoch."""


class StoreAway(PenstockError):
    """The store cannot say. The exchange may have happened or not; the next one puts that right."""


class LimitStore(Protocol):
    """Keeps accounts (`policy.limit.account`). One clock dates everything: the store's, never a replica's."""

    async def exchange(self, batch: Batch) -> Answers:
        """One round trip for the whole batch, each bucket by itself. Raises StoreAway.

        A batch of nothing connects. It may be cancelled at any time; at most one exchange of a holder is under way.
        """

    async def close(self) -> None:
        """Lets go of connections and files."""


def steady(not_before_us: int = 0) -> Now:
    """The wall clock as it is now, carried on without its steps; never before what was seen already."""
    began, begun_at = max(int(wall() * 1e6), not_before_us), monotonic()
    return lambda: began + int((monotonic() - begun_at) * 1e6)
