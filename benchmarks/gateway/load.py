"""Load generators: raw protocols on one core, frugal enough to outrun any gateway on the other.

Unary requests in a closed loop (each connection asks again once answered) or an open one (an absolute timetable;
latency counts from the due time, so a stalled server is charged for the queue it made).
"""

from __future__ import annotations

import asyncio
import ctypes
import functools
import os
import struct
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import cast

_now = time.perf_counter


@dataclass(slots=True)
class Tally:
    """What a run of requests gave. Times in seconds; `lag` is due-to-sent of the open loop."""

    done: int = 0
    errors: int = 0
    seconds: float = 0.0
    latency: list[float] = field(default_factory=list)
    lag: list[float] = field(default_factory=list)
    first_error: str = ""

    def failed(self, what: str) -> None:
        self.errors += 1
        self.first_error = self.first_error or what


class Asker(asyncio.Protocol):
    """One keep-alive connection with at most one request out. Reads just enough of an answer to see its end."""

    def __init__(self, request: bytes, tally: Tally) -> None:
        self.request = request
        self.tally = tally
        self.due = 0.0
        self.missing = 0
        self.head = b""
        self.chunked = False
        self.closed = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)
        self.fd: int = transport.get_extra_info("socket").fileno()

    def connection_lost(self, _exc: Exception | None) -> None:
        self.closed = True
        if self.due:
            self.tally.failed("connection lost")
            self.due = 0.0
        self.lost()

    def ask(self, due: float) -> None:
        self.due = due
        # Straight to the socket: nothing is ever queued before a request, and a short one always fits.
        try:
            os.write(self.fd, self.request)
        except OSError:
            self.transport.abort()

    def data_received(self, data: bytes) -> None:
        if not self.due:
            self.transport.abort()
            return
        if self.missing:
            self.missing -= len(data)
        elif self.chunked:
            self.head = (self.head + data)[-5:]
            self.chunked = self.head != b"0\r\n\r\n"
        elif not self.begin(data):
            return
        if self.missing or self.chunked:
            return
        self.head = b""
        self.tally.done += 1
        self.tally.latency.append(_now() - self.due)
        self.due = 0.0
        self.free()

    def begin(self, data: bytes) -> bool:
        """Reads a head; False while it is incomplete."""
        data = self.head + data
        end = data.find(b"\r\n\r\n")
        if end < 0:
            self.head = data
            return False
        if data[9:12] != b"200":
            self.tally.failed(data[:300].decode("latin-1"))
        head = data[:end].lower()
        at = head.find(b"\r\ncontent-length:")
        if at >= 0:
            line = head.find(b"\r\n", at + 2)
            length = int(head[at + 17 : line if line > 0 else end])
            self.missing = end + 4 + length - len(data)
        else:
            self.chunked = not data.endswith(b"0\r\n\r\n")
            self.head = data[-5:]
        return True

    def free(self) -> None:
        """The answer is in; the connection can ask again."""

    def lost(self) -> None:
        """The connection is gone."""


class _Looper(Asker):
    until = 0.0

    def free(self) -> None:
        now = _now()
        if now < self.until:
            self.ask(now)


async def _connect(port: int, protocols: Sequence[Asker]) -> None:
    loop = asyncio.get_running_loop()
    for protocol in protocols:
        await loop.create_connection(functools.partial(_itself, protocol), "127.0.0.1", port)


def _itself(protocol: Asker) -> Asker:
    return protocol


async def closed_loop(port: int, request: bytes, connections: int, seconds: float) -> Tally:
    """`connections` clients, each asking again at once, for `seconds`."""
    tally = Tally()
    askers = [_Looper(request, tally) for _ in range(connections)]
    await _connect(port, askers)
    start = _now()
    for asker in askers:
        asker.until = start + seconds
        asker.ask(_now())
    await _drain(askers, seconds)
    tally.seconds = max(_now() - start, seconds)
    for asker in askers:
        asker.transport.close()
    return tally


async def _drain(askers: list[_Looper], seconds: float) -> None:
    await asyncio.sleep(seconds)
    patience = _now() + 30
    while any(asker.due for asker in askers) and _now() < patience:  # noqa: ASYNC110
        await asyncio.sleep(0.002)
    for asker in askers:
        if asker.due:
            asker.tally.failed("no answer in 30 s")
            asker.due = 0.0


class Timetable:
    """A kernel timer on an absolute timetable, finer than the loop's milliseconds (timerfd_create(2))."""

    def __init__(self, period: float) -> None:
        libc = ctypes.CDLL(None, use_errno=True)
        self.fd: int = libc.timerfd_create(1, os.O_NONBLOCK)
        if self.fd < 0:
            raise OSError(ctypes.get_errno(), "timerfd_create")
        whole, nanos = divmod(round(period * 1e9), 1_000_000_000)
        spec = struct.pack("qqqq", whole, nanos, whole, nanos)
        if libc.timerfd_settime(self.fd, 0, spec, None) < 0:
            raise OSError(ctypes.get_errno(), "timerfd_settime")

    def elapsed(self) -> int:
        """Periods that ended since the last call."""
        try:
            return int(struct.unpack("Q", os.read(self.fd, 8))[0])
        except BlockingIOError:
            return 0

    def close(self) -> None:
        os.close(self.fd)


class _Pooled(Asker):
    pool: OpenLoop

    def free(self) -> None:
        self.pool.freed(self)


class OpenLoop:
    """Requests at a fixed rate whatever the server does; those without a free connection wait, on the clock."""

    def __init__(self, request: bytes, rate: float, count: int, connections: int) -> None:
        self.tally = Tally()
        self.period = 1 / rate
        self.count = count
        self.askers = [_Pooled(request, self.tally) for _ in range(connections)]
        self.idle: list[_Pooled] = list(self.askers)
        self.waiting: deque[float] = deque()
        self.sent = 0
        self.start = 0.0
        for asker in self.askers:
            asker.pool = self

    def freed(self, asker: _Pooled) -> None:
        if self.waiting:
            asker.ask(self.waiting.popleft())
        else:
            self.idle.append(asker)

    def tick(self, periods: int) -> None:
        for _ in range(min(periods, self.count - self.sent)):
            self.sent += 1
            due = self.start + self.sent * self.period
            self.tally.lag.append(_now() - due)
            if self.idle:
                self.idle.pop().ask(due)
            else:
                self.waiting.append(due)

    async def run(self, port: int) -> Tally:
        loop = asyncio.get_running_loop()
        await _connect(port, self.askers)
        self.start = _now()
        timer = Timetable(self.period)
        loop.add_reader(timer.fd, lambda: self.tick(timer.elapsed()))
        patience = self.start + self.count * self.period + 10
        while self.tally.done + self.tally.errors < self.count and _now() < patience:  # noqa: ASYNC110
            await asyncio.sleep(0.02)
        self.tally.seconds = _now() - self.start
        loop.remove_reader(timer.fd)
        timer.close()
        for asker in self.askers:
            if asker.due:
                self.tally.failed("no answer")
                asker.due = 0.0
            asker.transport.close()
        return self.tally


async def open_loop(port: int, request: bytes, rate: float, seconds: float, connections: int = 64) -> Tally:
    return await OpenLoop(request, rate, max(1, round(rate * seconds)), connections).run(port)
