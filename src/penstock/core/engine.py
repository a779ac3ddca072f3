"""The seam between the gateway and whatever answers: push, never pull.

An engine pushes an answer into a `Sink` from its own socket callback, so a chunk crosses the gateway without a task
wake-up. The gateway steers the answer through the `Exchange` it got back.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from penstock.core.errors import RequestError
from penstock.core.request import Headers, Request


class ResponseHead:
    """Status and end-to-end headers of an answer; framing is the gateway's business."""

    __slots__ = ("bodyless", "content_length", "headers", "lines", "opaque", "sse", "status")

    def __init__(
        self,
        status: int,
        headers: Headers,
        *,
        content_length: int | None,
        sse: bool = False,
        opaque: bool = False,
        bodyless: bool = False,
    ) -> None:
        self.status = status
        self.headers = headers
        self.content_length = content_length
        """Declared length of the body, None when it is a stream."""
        self.sse = sse
        """The body is `text/event-stream`."""
        self.opaque = opaque
        """The body is encoded (gzip, br): it is passed, never looked into."""
        self.bodyless = bodyless
        """No body follows, whatever the declared length: HEAD, 204, 304."""
        self.lines: bytes | None = None
        """Status line and headers as the gateway sends them, once it has written them out."""

    def of_length(self, content_length: int) -> ResponseHead:
        """The same head of a body of another length."""
        head = ResponseHead(
            self.status, self.headers, content_length=content_length, opaque=self.opaque, bodyless=self.bodyless
        )
        head.lines = self.lines
        return head


class Flow:
    """A way through for the middle of an event stream: chunks that hold whole events go on with their framing.

    The engine client calls `send` and notes chunk and arrival, which is all that is done per chunk; the sink that lent
    the flow counts what was noted when it next needs to know.
    """

    __slots__ = ("arrivals", "chunks", "send")

    def __init__(self, send: Callable[[bytes], None]) -> None:
        self.send = send
        self.chunks: list[bytes] = []
        self.arrivals: list[float] = []
        """Monotonic seconds, one per read: an engine may send several chunks at once."""


class Sink(Protocol):
    """Takes an answer: `head` once, `data` any number of times, then exactly one of `end` or `failed`.

    After `Exchange.cancel()` nothing more is called.
    """

    flow: Flow | None
    """Where the middle of a stream may go instead of `data`; told anew after each `data`."""

    def head(self, head: ResponseHead) -> None: ...

    def data(self, piece: bytes, last: bool) -> None:
        """A piece of the body, framing removed. `last` promises that `end` follows at once."""

    def end(self) -> None: ...

    def failed(self, error: RequestError) -> None: ...


class Exchange(Protocol):
    """One request under way at an engine."""

    reused: bool
    sink: Sink
    """Takes the answer; it may be changed until content has come."""

    def pause(self) -> None:
        """Stops reading from the engine until `resume`; the engine feels back-pressure."""

    def resume(self) -> None: ...

    def cancel(self) -> None:
        """Frees the engine at once by dropping the connection. Idempotent."""


class Engine(Protocol):
    """Something that answers a Request."""

    def send(self, request: Request, sink: Sink, request_id: bytes, *, fresh: bool = False) -> Exchange:
        """Starts the request and returns without waiting. Every failure arrives through `sink.failed`.

        `fresh` asks for a new connection rather than a kept-alive one.
        """

    def retire(self) -> None:
        """Closes idle connections; running exchanges finish and their connections close after them."""
