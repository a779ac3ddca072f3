"""The worker's side of the ledger: an append-only journal that survives its process.

`opened` and `closed` copy an entry into mapped memory and make no system call. What they returned True for is read by
the shipper even if the process is killed at the next instruction.
"""

import logging
import os
import secrets
from itertools import count
from pathlib import Path

import msgspec

from penstock.core.clock import wall
from penstock.core.errors import ConfigError
from penstock.state.ledger.entries import MOST_BYTES, Closed, Entry, Opened, cut
from penstock.state.ledger.segment import Segment

log = logging.getLogger("penstock.ledger")

SEGMENT_BYTES = 8 * 1024 * 1024
RESERVE = MOST_BYTES + 8
"""Bytes kept free for the end of each request that runs."""


def journal_folder(folder: Path) -> Path:
    """Where the journals of a data folder lie."""
    return folder / "ledger" / "journal"


class Journal:
    """One process's journal in `folder`. `prepare` belongs into a sweep, or a request waits for each new segment.

    Raises ConfigError when the folder cannot be made. A disk that is full is no error here: `has_room` tells.
    """

    def __init__(self, folder: Path, segment_bytes: int = SEGMENT_BYTES) -> None:
        try:
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        except OSError as error:
            raise ConfigError(f"state.folder: cannot make {folder}: {error.strerror or error}") from None
        self._folder = folder
        self._size = segment_bytes
        self.writer = f"{int(wall() * 1000):x}-{os.getpid():x}x{secrets.token_hex(4)}"
        """Never used by another process, on whatever machine."""
        self._encode = msgspec.msgpack.Encoder().encode
        self._numbers = count(1)
        self._segments = count(1)
        self._open: set[int] = set()
        self._tried = False
        """A segment could not be made, and `prepare` has not tried again."""
        self.dropped = 0
        """Entries that were lost because the disk was full."""
        self.problem = ""
        """Why no segment can be made; empty when one could."""
        self._current: Segment | None = None
        self._next: Segment | None = None
        self.prepare()

    def number(self) -> int:
        """What a request is opened and closed by."""
        return next(self._numbers)

    @property
    def has_room(self) -> bool:
        """Whether a new request can be written down, and the ends of all those that run. Ask before it costs."""
        current, after = self._current, self._next
        if current is None:
            return False
        free = current.size - current.at
        if after is not None:
            free += after.size - after.at - RESERVE  # what the present one may leave unused at its end
        return free >= (len(self._open) + 2) * RESERVE

    def opened(self, entry: Opened) -> bool:
        """Call it before a request goes to an engine."""
        if self._append(entry):
            self._open.add(entry.number)
            return True
        return False

    def closed(self, entry: Closed) -> bool:
        """Call it before the last byte of an answer is handed to the client. False: lost, and counted."""
        self._open.discard(entry.number)
        return self._append(entry)

    def prepare(self) -> None:
        """Makes the segment after the present one, unless there is one. Cheap when there is nothing to do."""
        if self._next is None:
            self._next = self._make()
        if self._current is None and self._next is not None:
            self._current, self._next = self._next, self._make()

    def close(self) -> None:
        """Ends the journal. Requests that are still open count as interrupted."""
        for segment in (self._current, self._next):
            if segment is not None:
                segment.close()
        self._current = self._next = None
        self._tried = True

    def _append(self, entry: Entry) -> bool:
        try:
            payload = self._encode(entry)
        except (UnicodeEncodeError, OverflowError):
            payload = self._encode(cut(entry))
        if len(payload) > MOST_BYTES:
            payload = self._encode(cut(entry))
        current = self._current
        if current is not None and current.append(payload):
            return True
        return self._roll_and_append(payload)

    def _roll_and_append(self, payload: bytes) -> bool:
        if self._next is None and not self._tried:
            self._next = self._make()
        if self._next is None:
            self.dropped += 1
            return False
        if self._current is not None:
            self._current.close()
        self._current, self._next = self._next, None
        return self._current.append(payload)

    def _make(self) -> Segment | None:
        try:
            segment = Segment.create(self._folder, self.writer, next(self._segments), self._size)
        except OSError as error:
            if not self.problem:
                log.error("the ledger's journal cannot grow in %s: %s", self._folder, error)
            self.problem = error.strerror or str(error)
            self._tried = True
            return None
        if self.problem:
            log.warning("the ledger's journal grows again in %s", self._folder)
        self.problem = ""
        self._tried = False
        return segment
