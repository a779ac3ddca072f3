"""What an answer says on its way through: first token, pace, usage."""

from collections.abc import Mapping

from penstock.core.record import Usage
from penstock.wire.openai import count_content, find_usage

KEPT = 16_384
"""Bytes of an answer's end that are kept: `usage` stands there."""


class Reading:
    """Follows one answer. Times are monotonic seconds."""

    def __init__(self, headers: Mapping[str, bytes]) -> None:
        status = headers.get(":status", b"")
        self.status = int(status) if status.isdigit() else 0
        self._stream = headers.get("content-type", b"").startswith(b"text/event-stream")
        self._opaque = headers.get("content-encoding", b"identity") != b"identity"
        self._first = self._last = 0.0
        self._pieces = 0
        self._tail = b""

    def take(self, piece: bytes, now: float) -> None:
        """The next piece of the body."""
        if self._opaque or not piece:
            return
        self._tail = (self._tail + piece)[-KEPT:] if len(piece) < KEPT else piece[-KEPT:]
        if self._stream and (found := count_content(piece)):
            self._pieces += found
            self._last = now
            self._first = self._first or now

    def verdict(self, whole: bool) -> bool | None:
        """Whether the engine did well; None where that was not up to it: a bad request, a client that left."""
        if self.status >= 500:
            return False
        return True if whole and self.status < 400 else None

    @property
    def usage(self) -> Usage:
        """As the engine reported it; zeros where it reported none."""
        return find_usage(self._tail) or Usage()

    def ttft(self, since: float) -> float | None:
        """Seconds to the first content of a stream; None where that cannot be told."""
        return self._first - since if self._first else None

    def tpot(self, usage: Usage) -> float | None:
        """Seconds per output token after the first; None where that cannot be told."""
        tokens = usage.output_tokens or self._pieces
        return (self._last - self._first) / (tokens - 1) if self._first and tokens > 1 else None
