"""One request under way at an HTTP engine: waits for a connection if it must, then steers it."""

from __future__ import annotations

import asyncio

from penstock.core.engine import Sink
from penstock.engines.http.upstream import Upstream


class HttpExchange:
    """What the gateway holds while an engine answers. See `core.engine.Exchange`."""

    __slots__ = ("_connecting", "_paused", "_upstream", "head_only", "reused", "sink")

    def __init__(self, sink: Sink, *, head_only: bool) -> None:
        self.sink = sink
        self.head_only = head_only
        """A HEAD request: the answer has no body, whatever its headers say."""
        self.reused = False
        self._upstream: Upstream | None = None
        self._connecting: asyncio.Task[None] | None = None
        self._paused = False

    def connecting(self, task: asyncio.Task[None]) -> None:
        self._connecting = task

    def begin(self, upstream: Upstream, payload: bytes, *, reused: bool) -> None:
        self._connecting = None
        self._upstream = upstream
        self.reused = reused
        if self._paused:
            upstream.transport.pause_reading()
        upstream.start(self, payload)

    def ended(self) -> None:
        """The connection is no longer ours."""
        if self._upstream is not None and self._paused and not self._upstream.lost:
            self._upstream.transport.resume_reading()
        self._upstream = None
        self._connecting = None

    def pause(self) -> None:
        if not self._paused:
            self._paused = True
            if self._upstream is not None:
                self._upstream.transport.pause_reading()

    def resume(self) -> None:
        if self._paused:
            self._paused = False
            if self._upstream is not None:
                self._upstream.transport.resume_reading()

    def cancel(self) -> None:
        task, upstream = self._connecting, self._upstream
        self._connecting = self._upstream = None
        if task is not None:
            task.cancel()
        if upstream is not None:
            upstream.drop()
