"""Idle connections to one engine, and which of them may be used at once.

Some engines close a connection right after every streamed answer although they offered to keep it: llama.cpp's server
does. A request that takes such a connection in that moment is lost and has to be made again. An engine that was seen
to do so has its connections rest after streams, and only those that outlive the rest are used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from penstock.core.clock import monotonic

if TYPE_CHECKING:
    from penstock.engines.http.upstream import Upstream

REST_S = 0.5
"""A closing that comes later has to do with the stream no more."""
SEEN = 2
"""Closings right after a stream from which on connections rest; one may be an engine that restarts."""


class Pool:
    """The most recently used connection is taken first: the others may rest and close."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._idle: list[Upstream] = []
        self._resting: list[Upstream] = []
        """After a stream, the longest first."""
        self._closings = 0
        """Right after a stream, since a connection last outlived its rest."""
        self.closed = False

    def take(self) -> Upstream | None:
        if self._resting:
            self._rested(monotonic())
        return self._idle.pop() if self._idle else None

    def _rested(self, now: float) -> None:
        resting = self._resting
        while resting and now - resting[0].streamed_at >= REST_S:
            self._idle.append(resting.pop(0))
            self._closings = 0

    def release(self, upstream: Upstream) -> None:
        if self.closed or len(self._idle) + len(self._resting) >= self._most:
            upstream.streamed_at = 0.0
            upstream.transport.close()
        elif upstream.streamed_at and self._closings >= SEEN:
            self._resting.append(upstream)
        else:
            self._idle.append(upstream)

    def lost(self, upstream: Upstream) -> None:
        """The connection is closed; an idle one was closed by the engine."""
        if upstream.streamed_at and monotonic() - upstream.streamed_at < REST_S:
            self._closings += 1
        self.forget(upstream)

    def forget(self, upstream: Upstream) -> None:
        """It is not used again."""
        upstream.streamed_at = 0.0
        for kept in (self._idle, self._resting):
            if upstream in kept:
                kept.remove(upstream)

    def close(self) -> None:
        self.closed = True
        for upstream in (*self._idle, *self._resting):
            upstream.transport.close()
        self._idle.clear()
        self._resting.clear()

    def __repr__(self) -> str:
        resting = f", {len(self._resting)} resting" if self._resting else ""
        return f"<Pool {len(self._idle)} idle{resting}>"
