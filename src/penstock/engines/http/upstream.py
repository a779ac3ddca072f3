"""One connection to an engine: parses answers with llhttp and pushes them into the sink of the current exchange."""

from __future__ import annotations

import asyncio
import socket
from typing import TYPE_CHECKING, cast

import httptools

from penstock.core.clock import monotonic
from penstock.core.engine import Flow, ResponseHead
from penstock.core.errors import RequestError, UpstreamFailed
from penstock.core.request import Headers
from penstock.engines.http.repeated import Repeated, repeatable
from penstock.wire.chunks import BEGINNING, END_OF_EVENTS, ENDS, whole_chunks
from penstock.wire.heads import READ_OF_RESPONSE, without

if TYPE_CHECKING:
    from penstock.engines.http.exchange import HttpExchange
    from penstock.engines.http.outbox import Outbox
    from penstock.engines.http.pool import Pool

LONGEST_HEAD = 256 * 1024
NO_BODY = frozenset({204, 304})
QUICKACK = getattr(socket, "TCP_QUICKACK", None)
"""Linux has it."""
MOST_NEW = 8
"""Heads in a row that did not repeat, after which a connection stops looking for one that does."""


class Upstream(asyncio.Protocol):
    """A kept-alive connection. It serves one exchange at a time; `pool` gets it back when it may be used again."""

    __slots__ = (
        "_connection",
        "_done",
        "_exchange",
        "_flow",
        "_framed",
        "_head",
        "_head_sent",
        "_head_size",
        "_headers",
        "_keep_alive",
        "_length",
        "_mid_chunk",
        "_new",
        "_opaque",
        "_outbox",
        "_parser",
        "_pieces",
        "_pool",
        "_repeated",
        "_sse",
        "_surplus",
        "_whole",
        "lost",
        "on_body",
        "streamed_at",
        "transport",
    )

    def __init__(self, pool: Pool, outbox: Outbox) -> None:
        self._pool = pool
        self._outbox = outbox
        self._pieces: list[bytes] = []
        self._whole = 0
        self.on_body = self._pieces.append
        """For httptools: pieces of the body, framing removed. No call of ours per piece."""
        self._parser = httptools.HttpResponseParser(self)
        self._exchange: HttpExchange | None = None
        self._repeated: Repeated | None = None
        self._new = 0
        """Heads in a row that did not repeat the one before."""
        self.transport: asyncio.Transport = cast(asyncio.Transport, None)
        self.lost = False
        self.streamed_at = 0.0
        """When a streamed answer left it idle; 0 while it is in use, or after another answer."""
        self._clear()

    def _clear(self) -> None:
        self._headers: Headers = []
        self._head: ResponseHead | None = None
        self._head_size = 0
        self._head_sent = self._done = self._surplus = self._framed = self._sse = self._opaque = False
        self._keep_alive = False
        self._flow: Flow | None = None
        self._mid_chunk = True
        self._length: int | None = None
        self._connection = b""

    # -- what the exchange asks -------------------------------------------------------------------------------------

    def start(self, exchange: HttpExchange, payload: bytes) -> None:
        """Sends a request at the end of this turn of the loop; its answer goes to `exchange.sink`."""
        self._exchange = exchange
        self.streamed_at = 0.0
        self._outbox.put(self, exchange, payload)

    def send(self, exchange: HttpExchange, payload: bytes) -> None:
        """Writes the request, if its exchange is still the one under way."""
        if self._exchange is exchange:
            self.transport.write(payload)

    def drop(self) -> None:
        """Forgets the exchange and resets the connection, so that the engine notices at once."""
        self._exchange = self._flow = None
        self.transport.abort()

    # -- asyncio.Protocol -------------------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        flow = self._flow
        if flow is not None:
            # The middle of a stream, which is most of what a gateway does. A read that is whole chunks would leave
            # llhttp where it is: it need not see them.
            try:
                last = data[ENDS[data[BEGINNING]]]  # nearly always there, and any call would cost more
            except KeyError:
                last = b""
            if last == END_OF_EVENTS:
                flow.arrivals.append(monotonic())
                flow.chunks.append(data)
                send = flow.send  # two steps: CPython specialises a slot that is read, not one that is called
                send(data)
                return
            if chunks := whole_chunks(data):
                flow.arrivals.append(monotonic())
                flow.chunks += chunks
                flow.send(data)
                return
        exchange = self._exchange
        if exchange is None:
            # Bytes nobody asked for: whatever follows could not be told from the next answer.
            self._pool.forget(self)
            self.transport.abort()
            return
        if self._head is None and (self._answered_as_before(exchange, data) or not self._begins(data)):
            return
        self._parse(exchange, data)
        if self._exchange is exchange:
            self._flow = None if self._mid_chunk or not data.endswith(b"\r\n") else exchange.sink.flow

    def _parse(self, exchange: HttpExchange, data: bytes) -> None:
        """Has the parser read `data` and passes on what it found."""
        try:
            self._parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade) as error:
            if not self._survives(exchange, error):
                return
        pieces = self._pieces
        if self._head_sent and not self._done and len(pieces) == 1:
            exchange.sink.data(pieces.pop(), False)  # the middle of a stream: most reads there are
            return
        if self._done and self._head_size == len(data) and self._new < MOST_NEW:
            self._remember(data)
        self._push(exchange)

    def _answered_as_before(self, exchange: HttpExchange, data: bytes) -> bool:
        """Passes on an answer that the last one foretold."""
        repeated = self._repeated
        if repeated is None or self._head_size or exchange.head_only or (found := repeated.read(data)) is None:
            return False
        self._new = 0
        head, body = found
        sink = exchange.sink
        sink.head(head)
        if self._exchange is exchange:  # otherwise the sink wants no more of this answer
            self._exchange = None
            self._pool.release(self)
            exchange.ended()
            if body:
                sink.data(body, True)
            sink.end()
        return True

    def _remember(self, data: bytes) -> None:
        """Notes a whole answer that came in one read: the next may be like it."""
        self._new += 1
        head = self._head
        if head is not None and self._keep_alive and not self._surplus and not self.lost:
            self._repeated = repeatable(data, head)

    def _begins(self, data: bytes) -> bool:
        """Whether a head may go on with `data`. llhttp would pass over empty lines before it."""
        if not self._head_size and data[:1] != b"H":
            self._fail(UpstreamFailed("The engine's answer does not begin as HTTP does.", code="upstream_malformed"))
            return False
        self._head_size += len(data)
        return True

    def _survives(self, exchange: HttpExchange, error: Exception) -> bool:
        """Whether the answer was whole before the parser stumbled; otherwise it has failed."""
        if isinstance(error, httptools.HttpParserUpgrade):
            self._fail(UpstreamFailed("The engine switched protocols unasked.", code="upstream_malformed"))
            return False
        if self._done:
            self._surplus = True
            return True
        self._push(exchange)
        if self._exchange is exchange:
            reason = f"The engine's answer is not HTTP: {error.__context__ or error}."
            self._fail(UpstreamFailed(reason, code="upstream_malformed"))
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        self.lost = True
        self._pool.lost(self)
        exchange = self._exchange
        if exchange is None:
            return
        if self._head is not None and not self._framed and exc is None:
            self._surplus = True  # the body ends with the connection (RFC 9112, 6.3)
            self._finish()
            self._push(exchange)
            return
        self._fail(
            UpstreamFailed("The engine closed the connection before its answer was complete.", code="upstream_reset")
        )

    # -- httptools --------------------------------------------------------------------------------------------------

    def on_message_begin(self) -> None:
        if self._done:
            self._surplus = True

    def on_header(self, name: bytes, value: bytes) -> None:
        if self._done or self._head is not None:
            return  # trailers are dropped
        lower = name.lower()
        if lower not in READ_OF_RESPONSE:
            self._headers.append(name + b": " + value)
            if lower == b"content-type":
                self._sse = value[:17].lower() == b"text/event-stream"
            elif lower == b"content-encoding":
                self._opaque = value.lower() != b"identity"
        elif lower == b"content-length":
            self._length = int(value)
            self._framed = True
        elif lower == b"transfer-encoding":
            if value.lower() != b"chunked":
                # A coding that is not undone here must not reach the client without its name.
                raise ValueError(f"transfer-encoding {value.decode('latin-1')!r:.100} is not known")
            self._framed = True
        elif lower == b"connection":
            self._connection = value

    def on_headers_complete(self) -> None:
        if self._done:
            return
        status = self._parser.get_status_code()
        if status < 200:
            if status < 100:
                raise ValueError(f"there is no status {status:03d}")
            return
        self._keep_alive = self._parser.should_keep_alive()
        if self._sse:
            self._acknowledge_in_pairs()
        headers = self._headers
        if self._connection and self._connection.lower() not in (b"keep-alive", b"close"):
            headers = without(headers, self._connection)
        if status == 204:
            self._length = None  # a length there is forbidden (RFC 9110, 8.6), and some clients would wait for it
        bodyless = status in NO_BODY or (self._exchange is not None and self._exchange.head_only)
        if bodyless:
            self._framed = True
        self._head = ResponseHead(
            status, headers, content_length=self._length, sse=self._sse, opaque=self._opaque, bodyless=bodyless
        )
        if self._exchange is not None and self._exchange.head_only:
            # llhttp cannot be told that no body follows; the connection is not used again.
            self._surplus = True
            self._finish()

    def on_chunk_header(self) -> None:
        self._mid_chunk = True

    def on_chunk_complete(self) -> None:
        self._mid_chunk = False

    def on_message_complete(self) -> None:
        if self._head is None:
            # 1xx: the answer is still to come. Many of them are as good as one endless head.
            self._headers, self._length, self._connection = [], None, b""
            self._framed = self._sse = self._opaque = False
        else:
            self._finish()

    def _finish(self) -> None:
        """The answer is whole. Pieces that come after it in the same read belong to nobody."""
        if not self._done:
            self._done = True
            self._whole = len(self._pieces)

    # -- onwards ----------------------------------------------------------------------------------------------------

    def _push(self, exchange: HttpExchange) -> None:
        """Hands what one read brought to the sink: at most one `head`, one `data`, one `end`."""
        if self._head is None:
            if self._head_size > LONGEST_HEAD:
                self._fail(UpstreamFailed("The engine sent too large a head.", code="upstream_malformed"))
            return
        sink, done = exchange.sink, self._done
        if not self._head_sent:
            self._head_sent = True
            sink.head(self._head)
            if self._exchange is not exchange:
                return  # the sink wants no more of this answer
        pieces = self._pieces[: self._whole] if done else self._pieces[:]
        self._pieces.clear()
        if done:
            self._exchange = None
            reusable = self._keep_alive and not self._surplus and not self.lost
            self.streamed_at = monotonic() if self._length is None and reusable else 0.0
            self._clear()
            # Before the sink hears of the end: a pipelined request may then take this connection.
            if reusable:
                self._pool.release(self)
            elif not self.lost:
                self.transport.abort()
            exchange.ended()
            if pieces:
                sink.data(pieces[0] if len(pieces) == 1 else b"".join(pieces), True)
            sink.end()
        elif pieces:
            sink.data(pieces[0] if len(pieces) == 1 else b"".join(pieces), False)

    def _acknowledge_in_pairs(self) -> None:
        """Many small reads follow, and after each the kernel would send an acknowledgement at once: a twelfth of what a
        chunk costs here, and a packet that the engine has to take. Now it sends one for two, or for one 40 ms later
        (tcp(7), TCP_QUICKACK)."""
        used = self.transport.get_extra_info("socket")
        if QUICKACK is not None and used is not None:
            used.setsockopt(socket.IPPROTO_TCP, QUICKACK, 0)

    def _fail(self, error: RequestError) -> None:
        exchange = self._exchange
        self._exchange = self._flow = None
        if not self.lost:
            self._pool.forget(self)
            self.transport.abort()
        if exchange is not None:
            exchange.ended()
            exchange.sink.failed(error)
