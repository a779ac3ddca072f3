"""Record -> one JSON line. The data path only appends to a list; a thread writes.

Lines hold no prompt, no answer and no key. A log that cannot keep up loses lines, counted, rather than delay requests.
"""

import os
import sys
import threading
from collections import deque
from typing import Protocol

import msgspec

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
        self._wake = threading.Event()
        self._closing = False
        self.dropped = 0
        """Lines refused because too many waited."""
        self.failed = 0
        """Lines the system would not take: disk full, pipe closed."""
        self._thread = threading.Thread(target=self._run, name="access-log", daemon=True)
        self._thread.start()

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
        if self._waiting:
            self._wake.set()

    def close(self) -> None:
        """Writes what waits, for at most two seconds."""
        self._closing = True
        self._wake.set()
        self._thread.join(2)
        if self._owned and not self._thread.is_alive():
            os.close(self._descriptor)

    def _run(self) -> None:
        while True:
            self._wake.wait()
            self._wake.clear()
            lines = [self._waiting.popleft() for _ in range(len(self._waiting))]
            if lines:
                self._write(b"\n".join(lines) + b"\n")
                self._written += sum(map(len, lines))
            elif self._closing:
                return
            if self._closing:
                self._wake.set()

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
