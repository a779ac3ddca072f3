"""An answer on its way to one client.

Before the commit point (the first content byte) the head is held, so a failed attempt can move to another engine
unseen. After it nothing is retried: a failure becomes a typed event inside the stream, or an aborted connection where
the framing leaves no room for one.
"""

from __future__ import annotations

from bisect import bisect_left
from typing import Protocol

from penstock.core.clock import monotonic
from penstock.core.engine import Engine, Exchange, ResponseHead
from penstock.core.errors import ClientLeft, RequestError
from penstock.core.record import Attempt, Record, TokenSource, Usage
from penstock.core.request import Request
from penstock.gateway.answer import connection_header, error_answer, json_answer, status_line
from penstock.gateway.life import Wait
from penstock.telemetry import buckets
from penstock.telemetry.meter import BETWEEN, BETWEEN_SUM, EVENTS
from penstock.telemetry.series import Row
from penstock.wire import openai, sse

KEPT_FOR_USAGE = 256 * 1024
"""Bytes of a JSON answer kept to read its usage; of a longer one only the end is."""


def client_left() -> ClientLeft:
    return ClientLeft("The client closed the connection before the answer was complete.")


class Client(Protocol):
    """The connection an answer goes to."""

    def send(self, data: bytes) -> None: ...

    def abort(self) -> None: ...


class Relay:
    """The sink of one request's answer. `failure` of an attempt is None once the answer has gone out whole."""

    __slots__ = (
        "_attempt",
        "_chunked",
        "_client",
        "_count_content",
        "_exchange",
        "_held",
        "_json",
        "_kept",
        "_kept_size",
        "_last_piece",
        "_paused",
        "_row",
        "_usage_first",
        "attempts",
        "bytes_out",
        "committed",
        "content_events",
        "ended",
        "ended_at",
        "engine",
        "events",
        "failure",
        "first_at",
        "gap_count",
        "gap_max",
        "gap_sum",
        "head_held",
        "heard_at",
        "keep",
        "key",
        "last_at",
        "left",
        "model",
        "paused_at",
        "request",
        "request_id",
        "sent_at",
        "sse",
        "status",
        "was_reused",
    )

    def __init__(self, client: Client, request: Request, request_id: bytes, *, keep: bool) -> None:
        self.model = ""
        self.engine = ""
        self.key = ""
        self.failure: RequestError | None = None
        """What ended the request, when it was not a whole answer."""
        self.ended_at = 0.0
        self.keep = True
        """Whether the connection stays open after this answer."""
        self.head_held: ResponseHead | None = None
        self.sse = False
        self.status = 0
        self.committed = False
        self.ended = False
        self.left = False
        """The client is gone: nothing may be started for it any more."""
        self.was_reused = False
        """The failed attempt went out on a kept-alive connection, which may have been stale."""
        self.sent_at = 0.0
        self.first_at = 0.0
        self.last_at = 0.0
        self.paused_at = 0.0
        self.heard_at = 0.0
        """Last heartbeat sent to the client."""
        self.events = 0
        self.content_events = 0
        self.bytes_out = 0
        self.gap_count = 0
        self.gap_sum = 0.0
        self.gap_max = 0.0
        self._exchange: Exchange | None = None
        self._attempt: Wait[RequestError | None] | None = None
        self._row: Row | None = None
        self._count_content = False
        self._paused = False
        self._chunked = False
        self._held = b""
        self._json = False
        self._kept: list[bytes] | None = None
        self._kept_size = 0
        self._last_piece = b""
        self._usage_first: Usage | None = None
        self._client = client
        self.request = request
        self.request_id = request_id
        self.attempts: list[Attempt] = []
        self.keep = keep

    # -- steering, from handle and the sweep ------------------------------------------------------------------------

    def attempt(
        self, engine: Engine, request: Request, row: Row, *, fresh: bool, count_content: bool
    ) -> Wait[RequestError | None]:
        """Sends the request; the result tells how that ended: None, or what went wrong."""
        attempt = self._attempt = Wait()
        self._row = row
        self._count_content = count_content
        self.head_held = None
        self.sent_at = self.last_at = monotonic()
        exchange = engine.send(request, self, self.request_id, fresh=fresh)
        if not attempt.done:
            self._exchange = exchange
            if self._paused:
                exchange.pause()
        return attempt

    def answer(self, status: int, body: bytes) -> None:
        """A whole answer of the gateway's own."""
        self.status = status
        self._finish(json_answer(status, body, self.request, self.request_id, keep=self.keep), len(body))

    def refuse(self, error: RequestError) -> None:
        """An error before the commit point; nothing has reached the client yet."""
        self.status = error.status
        data = error_answer(error, self.request, self.request_id, keep=self.keep)
        self._finish(data, len(data))

    def _finish(self, data: bytes, size: int) -> None:
        self.ended = self.committed = True
        self.bytes_out += size
        self._client.send(data)

    def client_left(self) -> None:
        """The client's connection is gone: free the engine at once (law 7)."""
        self.ended = self.left = True
        self.expire(client_left())

    def expire(self, error: RequestError) -> None:
        """Ends the attempt from this side."""
        exchange, self._exchange = self._exchange, None
        if exchange is not None:
            exchange.cancel()
        self.failed(error)

    def pause(self) -> None:
        self._paused = True
        self.paused_at = monotonic()
        if self._exchange is not None:
            self._exchange.pause()

    def resume(self) -> None:
        self._paused = False
        self.last_at = monotonic()
        self.paused_at = 0.0
        if self._exchange is not None:
            self._exchange.resume()

    def heartbeat(self, now: float) -> None:
        """A comment on a silent stream. It commits a held head: bytes on the wire keep proxies and clients awake."""
        head = self.head_held
        if self.ended or self._paused or head is None or not head.sse or head.opaque or not self._chunks(head):
            return
        data = b"" if self.committed else self._commit(head, None)
        if not self._between_events():
            return
        self._client.send(data + b"%x\r\n%b\r\n" % (len(sse.HEARTBEAT), sse.HEARTBEAT))
        self.heard_at = now

    def _between_events(self) -> bool:
        return not self._last_piece or self._last_piece.endswith((b"\n\n", b"\r\n\r\n"))

    # -- Sink -------------------------------------------------------------------------------------------------------

    def head(self, head: ResponseHead) -> None:
        self.head_held = head
        self.status = head.status
        self.sse = head.sse and not head.opaque
        self.last_at = monotonic()

    def data(self, piece: bytes, last: bool) -> None:
        now = monotonic()
        first = not self.first_at
        if first:
            self.first_at = now
            self._json = not self.sse and piece[:1] == b"{"
        if self.sse:
            if self._held or not piece.endswith(b"\n"):
                piece, self._held = (self._held + piece, b"") if last else sse.split_line(self._held, piece)
                if not piece:
                    self.first_at = 0.0 if first else self.first_at
                    return
            self._measure(piece, now, first)
        elif self._json:
            self._keep(piece)
        self.last_at = now
        self.bytes_out += len(piece)
        if not self.committed:
            head = self.head_held
            assert head is not None  # the engine pushes `head` first
            data = self._commit(head, piece if last else None)
        else:
            data = b""
        if self._chunked:
            data += b"%x\r\n%b\r\n0\r\n\r\n" % (len(piece), piece) if last else b"%x\r\n%b\r\n" % (len(piece), piece)
            self.ended = last
        else:
            data += piece
        self._client.send(data)

    def _measure(self, piece: bytes, now: float, first: bool) -> None:
        row = self._row
        assert row is not None
        events = sse.count_events(piece)
        self.events += events
        row[EVENTS] += events
        if self._count_content:
            self.content_events += openai.count_content(piece)
        if first:
            self._usage_first = openai.find_usage(piece)
        else:
            gap = now - self.last_at
            row[BETWEEN + bisect_left(buckets.TOKEN, gap)] += 1
            row[BETWEEN_SUM] += gap
            self.gap_count += 1
            self.gap_sum += gap
            if gap > self.gap_max:
                self.gap_max = gap
        if len(piece) < 64 and self._last_piece:
            piece = self._last_piece[-4096:] + piece  # `[DONE]` often comes alone; usage stands before it
        self._last_piece = piece

    def _keep(self, piece: bytes) -> None:
        kept = self._kept
        if kept is None:
            self._kept = [piece]
        else:
            kept.append(piece)
        self._kept_size += len(piece)
        while self._kept_size > KEPT_FOR_USAGE and kept is not None and len(kept) > 1:
            self._kept_size -= len(kept.pop(0))

    def end(self) -> None:
        data = b""
        if not self.committed:
            head = self.head_held
            assert head is not None
            data = self._commit(head, b"")
        if self._chunked and not self.ended:
            held, self._held = self._held, b""
            if held:
                self.bytes_out += len(held)
                data += b"%x\r\n%b\r\n" % (len(held), held)
            data += b"0\r\n\r\n"
        elif self._held:
            data += self._held
            self.bytes_out += len(self._held)
        if data:
            self._client.send(data)
        self.ended = True
        self.was_reused = self._exchange is not None and self._exchange.reused
        self._exchange = None
        self._settle(None)

    def failed(self, error: RequestError) -> None:
        self.was_reused = self._exchange is not None and self._exchange.reused
        self._exchange = None
        if self.committed and not self.ended:
            self.ended = True
            if self._chunked and self.sse:
                anthropic = self.request.target.startswith(b"/v1/messages")
                body = openai.error_body(error, anthropic=anthropic)
                event = sse.error_event(body, mid_event=not self._between_events())
                self._client.send(b"%x\r\n%b\r\n0\r\n\r\n" % (len(event), event))
            else:
                # The declared length or a JSON document leaves no room for an error: an incomplete message says it.
                self.keep = False
                self._client.abort()
        self._settle(error)

    def _settle(self, error: RequestError | None) -> None:
        if self._attempt is not None:
            self._attempt.set(error)

    # -- framing ----------------------------------------------------------------------------------------------------

    def _chunks(self, head: ResponseHead) -> bool:
        return head.content_length is None and self.request.http11 and not head.bodyless

    def _commit(self, head: ResponseHead, whole: bytes | None) -> bytes:
        """The head's bytes. `whole`: the entire body, when it is known already."""
        self.committed = True
        lines = [status_line(head.status)[:-2], *head.headers, b"x-request-id: " + self.request_id]
        if head.content_length is not None:
            lines.append(b"content-length: %d" % head.content_length)
        elif head.bodyless:
            pass
        elif whole is not None:
            lines.append(b"content-length: %d" % len(whole))
        elif self.request.http11:
            self._chunked = True
            lines.append(b"transfer-encoding: chunked")
        else:
            self.keep = False  # HTTP/1.0: the end of the connection ends the body
        connection = connection_header(http11=self.request.http11, keep=self.keep)
        return b"\r\n".join(lines) + b"\r\n" + connection + b"\r\n"

    # -- what is known at the end -----------------------------------------------------------------------------------

    def fill(self, record: Record) -> None:
        """Writes what was measured into the Record."""
        record.status = self.status
        record.bytes_out = self.bytes_out
        record.stream = self.sse
        if self.sse:
            record.events = self.events
            record.itl_count, record.itl_sum_s, record.itl_max_s = self.gap_count, self.gap_sum, self.gap_max
            if self.first_at:
                record.ttft_s = self.first_at - self.request.received
            usage = openai.merge(self._usage_first, openai.find_usage(self._last_piece))
        elif self._kept:
            usage = openai.find_usage(self._kept[0] if len(self._kept) == 1 else b"".join(self._kept))
        else:
            usage = None
        if usage is not None:
            record.tokens_source = TokenSource.USAGE
            record.input_tokens, record.output_tokens = usage.input_tokens, usage.output_tokens
            record.cached_tokens, record.reasoning_tokens = usage.cached_tokens, usage.reasoning_tokens
        # Content is not counted where usage was promised; a stream that ended before it still spent tokens.
        elif counted := self.content_events if self._count_content else self.events:
            record.tokens_source = TokenSource.COUNTED
            record.input_tokens = len(self.request.body) // openai.BYTES_PER_TOKEN
            record.output_tokens = counted
        if self.sse and record.output_tokens > 1 and self.gap_count:
            record.tpot_s = (self.last_at - self.first_at) / (record.output_tokens - 1)
