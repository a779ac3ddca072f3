"""Many concurrent streams: events counted and gaps timed per segment, without parsing an event."""

from __future__ import annotations

import asyncio
import functools
import os
import re
import time
from dataclasses import dataclass, field
from typing import cast

from benchmarks.gateway.plan import MARK

_now = time.perf_counter
_END = b"\r\n0\r\n\r\n"
_LENGTH = re.compile(rb"\r\ncontent-length: ?(\d+)\r\n", re.I)
_TAIL = 64
_SWEEP_S = 0.01
_SWEEPS = 20


@dataclass(slots=True)
class StreamTally:
    """What a set of streams gave. `itl` holds gaps between segments with content, so coalesced events show as one."""

    asked: int = 0
    complete: int = 0
    dropped: int = 0
    events: int = 0
    segments: int = 0
    seconds: float = 0.0
    ttft: list[float] = field(default_factory=list)
    itl: list[float] = field(default_factory=list)
    first_error: str = ""


class Listener(asyncio.Protocol):
    """One connection that reads one stream at a time."""

    def __init__(self, request: bytes, events: int, tally: StreamTally, until: float) -> None:
        self.request, self.events, self.tally, self.until = request, events, tally, until
        self.open = False
        self.lazy = False
        self.finished: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)
        self.fd: int = transport.get_extra_info("socket").fileno()

    def read(self, room: bytearray) -> None:
        """Takes what the socket holds, for a stream the loop does not watch."""
        try:
            size = os.readv(self.fd, [room])
        except BlockingIOError:
            return
        except OSError as error:
            self.connection_lost(error)
            return
        if size:
            self.data_received(bytes(memoryview(room)[:size]))
        else:
            self.eof_received()

    def ask(self) -> None:
        self.tally.asked += 1
        self.open = True
        self.seen = 0
        self.last = 0.0
        self.missing = 0
        self.tail = b""
        self.head: bytes | None = b""
        self.asked = _now()
        self.transport.write(self.request)

    def begin(self, data: bytes) -> bytes:
        """Reads a head; what follows it, or nothing while it is incomplete or refused."""
        end = data.find(b"\r\n\r\n")
        self.head = data if end < 0 else None
        if end < 0:
            return b""
        if data[9:12] != b"200":
            self.over(data[:300].decode("latin-1"))
            return b""
        # A gateway that held the head until it saw the whole of a short stream may announce its length.
        length = _LENGTH.search(data, 0, end + 2)
        self.missing = int(length[1]) if length else 0
        # Without a length the line end before the first chunk stays: a chunked end is recognised by it.
        return data[end + (4 if length else 2) :]

    def data_received(self, data: bytes) -> None:
        now = _now()
        if self.head is not None:
            data = self.begin(self.head + data)
            if not data:
                return
        found = data.count(MARK)
        if found:
            self.seen += found
            self.tally.segments += 1
            if self.lazy:
                pass
            elif self.last:
                self.tally.itl.append(now - self.last)
            else:
                self.tally.ttft.append(now - self.asked)
            self.last = now
        previous, self.tail = self.tail, data
        if self.missing:
            self.missing -= len(data)
            if not self.missing:
                self.over("" if b"[DONE]" in previous + data and self.seen == self.events else self.complaint())
            return
        if data.endswith(_END) or len(data) < len(_END):
            recent = self.tail = (previous + data)[-_TAIL:]
            if recent.endswith(_END):
                self.over("" if b"[DONE]" in recent and self.seen == self.events else self.complaint())

    def complaint(self) -> str:
        return f"stream ended with {self.seen} of {self.events} events after {self.tail[-_TAIL:]!r}"

    def eof_received(self) -> None:
        if self.open:
            self.over("" if b"[DONE]" in self.tail and self.seen == self.events else self.complaint())

    def connection_lost(self, exc: Exception | None) -> None:
        if self.open:
            self.over(f"connection lost: {exc}")

    def over(self, error: str) -> None:
        tally = self.tally
        self.open = False
        tally.events += self.seen
        if error:
            tally.dropped += 1
            tally.first_error = tally.first_error or error
        else:
            tally.complete += 1
        if not error and _now() < self.until:
            self.ask()
            return
        self.transport.close()
        if not self.finished.done():
            self.finished.set_result(None)


def _itself(listener: Listener) -> Listener:
    return listener


@dataclass(slots=True)
class StreamRun:
    """`count` concurrent streams of `events` content events; each is asked again until `repeat_s` has passed.

    `ramp_s` spreads the starts. `sampled` > 0: only so many streams are read at once and timed, the others in sweeps
    (all are counted). `wait` raises nothing: what is unfinished at `patience_s` counts as dropped.
    """

    port: int
    request: bytes
    events: int
    count: int
    repeat_s: float = 0.0
    ramp_s: float = 0.0
    patience_s: float = 60.0
    tally: StreamTally = field(default_factory=StreamTally)
    sampled: int = 0
    listeners: list[Listener] = field(default_factory=list)
    started: float = 0.0
    sweeper: asyncio.Future[None] = field(init=False)

    async def start(self) -> None:
        loop = asyncio.get_running_loop()
        every = self.count // self.sampled if self.sampled else 1
        for at in range(self.count):
            listener = Listener(self.request, self.events, self.tally, 0.0)
            listener.lazy = at % every != 0
            await loop.create_connection(functools.partial(_itself, listener), "127.0.0.1", self.port)
            if listener.lazy:
                listener.transport.pause_reading()
            self.listeners.append(listener)
        self.started = _now()
        for at, listener in enumerate(self.listeners):
            listener.until = self.started + self.repeat_s
            if self.ramp_s and at % 10 == 0:
                behind = self.started + self.ramp_s * at / self.count - _now()
                if behind > 0:
                    await asyncio.sleep(behind)
            listener.ask()

        self.sweeper = asyncio.ensure_future(self.sweep())

    async def sweep(self) -> None:
        """Reads the lazy streams: each every `_SWEEPS` x `_SWEEP_S` seconds, so that a segment carries many events.

        The gateway still receives and sends each event by itself; only this side of the last socket is thrifty.
        """
        lazy = [listener for listener in self.listeners if listener.lazy]
        room = bytearray(1 << 18)
        turn = 0
        while lazy:
            await asyncio.sleep(_SWEEP_S)
            for listener in lazy[turn % _SWEEPS :: _SWEEPS]:
                listener.read(room)
            turn += 1
            if turn % _SWEEPS == 0:
                lazy = [listener for listener in lazy if listener.open]

    async def wait(self) -> StreamTally:
        pending = [listener.finished for listener in self.listeners]
        await asyncio.wait(pending, timeout=self.patience_s)
        self.sweeper.cancel()
        for listener in self.listeners:
            if listener.open:
                listener.until = 0.0
                listener.over(f"unfinished at {listener.seen} of {listener.events} events")
        self.tally.seconds = _now() - self.started
        return self.tally


async def run_streams(run: StreamRun) -> StreamTally:
    await run.start()
    return await run.wait()
