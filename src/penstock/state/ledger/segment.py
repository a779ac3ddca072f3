"""One file of a journal.

    bytes 0-7    where the committed entries end, little-endian
    bytes 8-15   how many there are
    bytes 16-23  MAGIC
    from 64 on   entries: 4 bytes length | 4 bytes crc32 of length and payload | payload

All bytes are allocated when the file is made, so a full disk shows then and not as SIGBUS at a write. An entry is
copied first and the end moved after it with one 8-byte store: a reader never sees a part of one. The writer holds a
lock on the file for as long as it may write to it; the system frees the lock when the process dies, however it dies.
"""

import fcntl
import mmap
import os
import re
import struct
import sys
from pathlib import Path
from typing import NamedTuple
from zlib import crc32

from penstock.core.errors import PenstockError

START = 64
MAGIC = b"pnstkjn1"
END_AND_COUNT = struct.Struct("<QQ")
PREFIX = struct.Struct("<II")
NAME = re.compile(r"([0-9a-z]+-[0-9a-z]+)-(\d{8})\.jnl")
LATE = ".new"
"""Ends the name of a file that is still being made."""


class Segment:
    """The writer's side. `create` raises OSError when the disk has no room."""

    __slots__ = ("_map", "_view", "at", "count", "path", "size")

    def __init__(self, path: Path, mapped: mmap.mmap, size: int) -> None:
        self.path = path
        self.size = size
        self.at = START
        self.count = 0
        self._map = mapped
        self._view = memoryview(mapped).cast("Q")

    @classmethod
    def create(cls, folder: Path, writer: str, number: int, size: int) -> "Segment":
        if sys.byteorder != "little":
            raise PenstockError("ledger: journals are written on little-endian machines alone")
        path = folder / f"{writer}-{number:08}.jnl"
        making = path.with_suffix(LATE)
        descriptor = os.open(making, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            os.posix_fallocate(descriptor, 0, size)
            mapped = mmap.mmap(descriptor, size)  # keeps a descriptor of its own, and with it the lock
            mapped[16:24] = MAGIC
            segment = cls(path, mapped, size)
            segment._view[0] = START
            making.rename(path)
        except OSError:
            making.unlink(missing_ok=True)
            raise
        finally:
            os.close(descriptor)
        return segment

    def append(self, payload: bytes) -> bool:
        """Adds an entry; False when it does not fit."""
        size = len(payload)
        at = self.at
        start = at + 8
        end = start + size
        if end > self.size:
            return False
        PREFIX.pack_into(self._map, at, size, crc32(payload, size))
        self._map[start:end] = payload
        self.at = end
        self.count += 1
        self._view[1] = self.count
        self._view[0] = end
        return True

    def close(self) -> None:
        """Gives up the lock: whoever follows knows that nothing more will come."""
        self._view.release()
        self._map.close()


class Reading(NamedTuple):
    """What was read of a segment."""

    payloads: list[bytes]
    end: int
    """Where the next reading begins."""
    committed: int
    """Where the committed entries end; what lies behind `end` and before it is yet to be read."""
    damaged: bool
    """What follows `end` is committed and broken: the machine lost power, or somebody changed the file."""


def read(descriptor: int, at: int, most_bytes: int) -> Reading:
    """The committed entries from `at` on, as many as fit in `most_bytes`."""
    head = os.pread(descriptor, START, 0)
    if len(head) < START or head[16:24] != MAGIC:
        return Reading([], at, at, damaged=True)
    committed, _ = END_AND_COUNT.unpack_from(head)
    wanted = max(0, min(committed - at, most_bytes))
    data = os.pread(descriptor, wanted, at)
    payloads: list[bytes] = []
    start, end = 0, len(data)
    while start + 8 <= end:
        size, checksum = PREFIX.unpack_from(data, start)
        if size == 0 or at + start + 8 + size > committed:
            return Reading(payloads, at + start, committed, damaged=True)
        if start + 8 + size > end:
            break
        payload = data[start + 8 : start + 8 + size]
        if crc32(payload, size) != checksum:
            return Reading(payloads, at + start, committed, damaged=True)
        payloads.append(payload)
        start += 8 + size
    broken = end < wanted or 0 < committed - at - start < 8  # the file is shorter than it says, or no entry fits
    return Reading(payloads, at + start, committed, damaged=broken)


def count(descriptor: int) -> int:
    """How many entries were ever committed to a segment."""
    head = os.pread(descriptor, START, 0)
    return 0 if len(head) < START else int(END_AND_COUNT.unpack_from(head)[1])


def abandoned(descriptor: int) -> bool:
    """Whether no writer holds the segment any more: it is complete."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
