"""Record -> one JSON line. The data path only appends to a list; a thread writes.

The thread lives only while there is something to write: in a process with one thread the kernel finds a socket behind
its number without counting references, which shows on every read and write of a relay.

Lines hold no prompt, no answer and no key. A log that cannot keep up loses lines, counted, rather than delay requests.
"""

import os
import sys
import threading
from collections import deque
from typing import Protocol

import msgspec

from penstock.core.clock import monotonic
from penstock.core.errors import ConfigError
from penstock.core.record import Record

MOST_WAITING = 16 * 1024 * 1024
"""Bytes that may wait for a slow disk or pipe."""


class RecordSink(Protocol):
    """Takes Records as they end."""

    @property
    def lost(self) -> int:
        """Lines that were not written, so far."""

    def write(self, record: Record) -> None: ...

    def flush(self) -> None:
        """Asks for what waits to be written, without waiting for it."""

    def close(self) -> None: ...


class NoLog:
    """`log.access: off`."""

    lost = 0

    def write(self, record: Record) -> None: ...

    def flush(self) -> None: ...

    def close(self) -> None: ...


class JsonLog:
    """Appends JSON lines to a descriptor. Whole lines go out in one write, so workers can share a file."""

    def __init__(self, descriptor: int, *, owned: bool) -> None:
        self._descriptor = descriptor
        self._owned = owned
        self._encode = msgspec.json.Encoder().encode
        # One thread appends, the other takes: each deque operation is atomic, and each counter has one writer.
        self._waiting: deque[bytes] = deque()
        self._taken_in = 0
        self._written = 0
        self.dropped = 0
        """Lines refused because too many waited."""
        self.failed = 0
        """Lines the system would not take: disk full, pipe closed."""
        self._thread: threading.Thread | None = None

    @property
    def lost(self) -> int:
        return self.dropped + self.failed

    def write(self, record: Record) -> None:
        if self._taken_in - self._written > MOST_WAITING:
            self.dropped += 1
            return
        line = self._encode(record)
        self._taken_in += len(line)
        self._waiting.append(line)

    def flush(self) -> None:
        if self._waiting and (self._thread is None or not self._thread.is_alive()):
            self._thread = threading.Thread(target=self._run, name="access-log", daemon=True)
            self._thread.start()

    def close(self) -> None:
        """Writes what waits, for at most two seconds."""
        thread, end = self._thread, monotonic() + 2
        if thread is not None:
            thread.join(2)  # it may have looked for lines for the last time before the last were appended
        self.flush()
        if self._thread is not None:
            self._thread.join(max(0.0, end - monotonic()))
        if self._owned and (self._thread is None or not self._thread.is_alive()):
            os.close(self._descriptor)

    def _run(self) -> None:
        while self._waiting:
            lines = [self._waiting.popleft() for _ in range(len(self._waiting))]
            self._write(b"\n".join(lines) + b"\n")
            self._written += sum(map(len, lines))

    def _write(self, data: bytes) -> None:
        view = memoryview(data)
        while view:
            try:
                view = view[os.write(self._descriptor, view) :]
            except OSError:
                self.failed += bytes(view).count(b"\n")
                return


def open_log(access: str) -> RecordSink:
    """The sink for `log.access`. Raises ConfigError when the file cannot be opened."""
    if access == "off":
        return NoLog()
    if access in ("stdout", "stderr"):
        return JsonLog((sys.stdout if access == "stdout" else sys.stderr).fileno(), owned=False)
    try:
        descriptor = os.open(access, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o640)
    except OSError as error:
        raise ConfigError(f"log.access: cannot open {access!r}: {error.strerror}") from None
    return JsonLog(descriptor, owned=True)
