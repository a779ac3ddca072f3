"""How a supervisor follows the store: its own writes, other replicas', and the command line's."""

import asyncio
import logging
from collections.abc import Callable

from penstock.core.clock import type_of_clock, wall
from penstock.core.errors import RequestError
from penstock.policy.identity.resolve import Changes, Snapshot, changes
from penstock.state.identity.store import Store

log = logging.getLogger("penstock.identity")

INTERVAL_S = 1.0


class Follower:
    """Keeps a Snapshot of the store, and tells what changed.

    While the store does not answer, the last snapshot stands: requests go on, and a key that was revoked meanwhile is
    let in until the store is back.
    """

    def __init__(
        self, store: Store, on_changes: Callable[[Changes], None], *, interval_s: float = INTERVAL_S,
        clock: type_of_clock = wall,
    ) -> None:  # fmt: skip
        self._store = store
        self._on_changes = on_changes
        self._interval_s = interval_s
        self._clock = clock
        self._soon = asyncio.Event()
        self.snapshot = Snapshot(-1)
        """For a worker that starts now."""
        self.error = ""
        """Why the store cannot be read; empty while it can."""

    async def read(self) -> None:
        """Reads the store once, if it changed. Raises Unavailable."""
        if await self._store.version() == self.snapshot.version:
            return
        found = await self._store.snapshot(self._clock())
        step = changes(self.snapshot, found)
        self.snapshot = found
        self._on_changes(step)

    async def run(self) -> None:
        """Reads it again and again, until it is cancelled."""
        while True:
            self._soon.clear()
            try:
                await self.read()
                self.error = ""
            except RequestError as error:
                if not self.error:
                    log.warning("%s; keys stay as they were", error)
                self.error = str(error)
            try:
                await asyncio.wait_for(self._soon.wait(), self._interval_s)
            except TimeoutError:
                continue

    def hurry(self) -> None:
        """Look now: somebody wrote through this process."""
        self._soon.set()
