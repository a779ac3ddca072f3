"""The supervisor's side of the ledger: every journal in the data folder -> the store, each entry once.

How far a journal is shipped lies in the store and moves in the transaction that adds its charges. So the shipper may
die at any instruction: it goes on where the store says. A segment is removed when its charges are in the store and its
writer has left it. While the store is away journals grow, and nothing else happens.
"""

import asyncio
import fcntl
import logging
import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import msgspec

from penstock.core.clock import monotonic
from penstock.core.errors import PenstockError
from penstock.policy.price.book import Book
from penstock.state.ledger.charge import charge_of
from penstock.state.ledger.entries import Closed, Opened
from penstock.state.ledger.follow import DAMAGED, Part, Place, follow, path_of, waiting, writers
from penstock.state.ledger.journal import journal_folder
from penstock.state.ledger.store import Batch, Store

log = logging.getLogger("penstock.ledger")

PART_BYTES = 512 * 1024
"""Of a journal in one transaction: some five thousand entries."""
INTERVAL_S = 0.5
PASS_S = 30.0
"""A pass that takes longer hangs in the store."""
BACK_OFF_S = 0.5
BACK_OFF_MOST_S = 15.0
LOCK = "shipper.lock"


class Shipping(msgspec.Struct):
    """How shipping stands, for metrics."""

    shipped: int = 0
    """Charges put into the store."""
    interrupted: int = 0
    """Requests whose worker died before they ended."""
    damaged: int = 0
    """Segments that could not be read to their end, and were put aside."""
    failures: int = 0
    """Passes that the store did not take."""
    problem: str = ""
    """Why nothing is shipped now, for people; empty when all is well."""


class Shipper:
    """Ships the journals of one data folder. Only one process does at a time: a second one waits for the first."""

    def __init__(
        self,
        folder: Path,
        store_of: Callable[[], Store],
        book: Callable[[], Book],
        *,
        interval_s: float = INTERVAL_S,
        sync_s: float = 1.0,
        pass_s: float = PASS_S,
    ) -> None:
        self._folder = journal_folder(folder)
        self._store_of = store_of
        self._book = book
        self._interval_s = interval_s
        self._sync_s = sync_s
        self._pass_s = pass_s
        self._store: Store | None = None
        self._lock: int | None = None
        self._passing: asyncio.Future[bool] | None = None
        """The last pass, which may still run when whoever waited for it was cancelled."""
        self._back_off_s = 0.0
        self._places: dict[str, Place] = {}
        """As of the last pass, to tell how much waits while the store cannot be asked."""
        self._level = monotonic()
        """When nothing waited last."""
        self._synced = float("-inf")
        self.shipping = Shipping()

    async def run(self) -> None:
        """Ships until it is cancelled. What blocks runs in a thread."""
        while True:
            more = await self._bounded()
            await asyncio.sleep(self._back_off_s or (0.0 if more else self._interval_s))

    async def finish(self, within_s: float) -> bool:
        """Ships what dead or ended workers left, after `run` was cancelled; whether all of it."""
        end = monotonic() + within_s
        while monotonic() < end:
            more = await self._bounded()
            if not more and not self.shipping.problem and not self.lag()[0]:
                return True
            await asyncio.sleep(self._back_off_s or (0.0 if more else 0.05))
        return False

    def lag(self) -> tuple[int, float]:
        """(entries, seconds): what waits in the journals, and for how long not everything has been shipped."""
        total = 0
        with suppress(OSError):
            for writer, segments in writers(self._folder).items():
                total += waiting(self._folder, writer, segments, self._places.get(writer, Place()))
        return total, monotonic() - self._level

    def step(self) -> bool:
        """One pass over all journals; whether more waits already. A store that is away is noted, and never raised."""
        try:
            if not self._sole():
                return False
            self._sync()
            more = self._pass()
        except PenstockError as error:
            self._failed(str(error))
            return False
        except OSError as error:
            self._failed(f"the journals in {self._folder} cannot be read: {error}")
            return False
        if self.shipping.problem:
            log.warning("the ledger is shipped again")
        self.shipping.problem = ""
        self._back_off_s = 0.0
        return more

    def close(self) -> None:
        """Frees the store and the folder."""
        if self._store is not None:
            self._store.close()
            self._store = None
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def _pass(self) -> bool:
        if self._store is None:
            self._store = self._store_of()
            self._store.open()
        store, book, more = self._store, self._book(), False
        for writer, segments in writers(self._folder).items():
            place = store.place(writer)
            part = follow(self._folder, writer, segments, place, PART_BYTES)
            if part.over or part.place != place:
                batch = batch_of(writer, part, book)
                self.shipping.interrupted += store.ship(batch)
                self.shipping.shipped += len(batch.charges)
            self._clear(part)
            self._places[writer] = part.place
            if part.over:
                del self._places[writer]
            more |= part.more
        if not more:
            self._level = monotonic()
        return more

    def _clear(self, part: Part) -> None:
        """Removes what is in the store and puts aside what cannot be read."""
        for path in part.damaged:
            log.error("ledger: %s is damaged; what could be read is shipped, the file is kept as %s", path, DAMAGED)
            path.rename(path.with_name(path.name + DAMAGED))
            self.shipping.damaged += 1
        for path in part.done:
            path.unlink(missing_ok=True)

    def _failed(self, problem: str) -> None:
        if not self.shipping.problem:
            log.error("%s; journals are kept until it is back", problem)
        self.shipping.problem = problem
        self.shipping.failures += 1
        self._back_off_s = min(BACK_OFF_MOST_S, self._back_off_s * 2 or BACK_OFF_S)
        if self._store is not None:
            self._store.close()
            self._store = None

    async def _bounded(self) -> bool:
        """A pass in a thread; one that hangs in the store is broken off, and may be made again.

        Never two at once: they would share a connection, which one may close while the other uses it.
        """
        passing = self._passing
        if passing is None or passing.done():
            passing = self._passing = asyncio.ensure_future(asyncio.to_thread(self.step))
        try:
            while not (await asyncio.wait({passing}, timeout=self._pass_s))[0]:
                if self._store is not None:
                    self._store.abort()
            return passing.result()
        except asyncio.CancelledError:
            if self._store is not None:
                self._store.abort()
            await asyncio.wait({passing})
            raise

    def _sync(self) -> None:
        """Writes mapped pages to the disk, for the case that the machine loses power."""
        now = monotonic()
        if not self._sync_s or now - self._synced < self._sync_s:
            return
        self._synced = now
        with suppress(OSError):
            for writer, segments in writers(self._folder).items():
                for segment in segments:
                    _to_disk(path_of(self._folder, writer, segment))
            _to_disk(self._folder)

    def _sole(self) -> bool:
        """Holds the folder's lock, which the system frees when its holder dies."""
        if self._lock is not None:
            return True
        self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        descriptor = os.open(self._folder / LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(descriptor)
            self.shipping.problem = f"another process ships the journals in {self._folder}"
            return False
        self._lock = descriptor
        return True


def batch_of(writer: str, part: Part, book: Book) -> Batch:
    """What a part of a journal says, priced. A request that was opened and closed in it needs no other trace."""
    opened: dict[int, Opened] = {}
    closed: list[Closed] = []
    closes: list[int] = []
    for entry in part.entries:
        match entry:
            case Opened():
                opened[entry.number] = entry
            case Closed():
                closed.append(entry)
                if opened.pop(entry.number, None) is None:
                    closes.append(entry.number)
    charges = [charge_of(entry, writer, book) for entry in closed]
    return Batch(writer, charges, list(opened.values()), closes, part.place, part.over, book)


def _to_disk(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
