"""The client's side of HTTP/1.1: bytes -> Requests, one answered at a time, in order, within limits.

llhttp (httptools) parses; this class decides what is let in. Ambiguous framing is refused and the connection closed,
so that no engine can ever read a request differently from how it was authorised.
"""

from __future__ import annotations

import asyncio
from collections import deque
from typing import TYPE_CHECKING, cast

import httptools

from penstock.core.clock import monotonic
from penstock.core.errors import BadRequest, ExpectationFailed, HeadTooLarge, RequestError, RequestTimeout, TooLarge, Unavailable
from penstock.core.request import Request
from penstock.gateway.answer import method_not_allowed
from penstock.gateway.handle import handle
from penstock.gateway.life import Life
from penstock.gateway.relay import Relay
from penstock.wire.heads import ONCE, READ_OF_REQUEST, without

if TYPE_CHECKING:
    from penstock.gateway.app import App

CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"
LINGER_S = 2.0
"""How long a refused client may go on sending before its connection is closed: closing at once would reset the
connection and could destroy the answer on its way (RFC 9112, 9.6)."""
PLAIN_CONNECTION = frozenset({b"keep-alive", b"close", b"Keep-Alive", b"Close", b"upgrade", b"Upgrade"})


class Connection(asyncio.Protocol):
    """One client connection. `relay` is the answer under way, if any."""

    __slots__ = (
        "_app", "_body", "_body_size", "_head_fed", "_head_size", "_parser", "_queue", "_reading", "_refused",
        "_request", "_transport", "_unread", "closing_at", "last_read", "lingering", "lost", "relay",
    )  # fmt: skip

    def __init__(self, app: App) -> None:
        self._app = app
        self._transport: asyncio.Transport = cast(asyncio.Transport, None)
        self._parser = httptools.HttpRequestParser(self)
        self._queue: deque[Request] = deque()
        self._request: Request | None = None
        self._body: list[bytes] = []
        self._body_size = 0
        self._head_size = self._head_fed = 0
        self._reading = True
        self._refused = False
        self._unread = False
        self.relay: Relay | None = None
        self.last_read = monotonic()
        self.lingering = False
        self.closing_at = 0.0
        self.lost = False

    # -- asyncio.Protocol -------------------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._app.connected(self)

    def connection_lost(self, exc: Exception | None) -> None:
        self.lost = True
        self._queue.clear()
        self._app.disconnected(self)
        if self.relay is not None:
            self.relay.client_left()

    def data_received(self, data: bytes) -> None:
        if self.lingering:
            return
        self.last_read = monotonic()
        before = self._request
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade as upgrade:
            # Nothing to switch to: the request stands as plain HTTP/1.1, what follows it is the next one.
            self._parser = httptools.HttpRequestParser(self)
            rest = data[upgrade.args[0] :]
            if rest and not self._refused:
                self.data_received(rest)
                return
        except httptools.HttpParserError as error:
            if not self._refused:
                self._refuse(BadRequest(f"The request is not valid HTTP/1.1: {error}."))
        if self._request is not None and self._request is before and self._body_size == 0:
            self._head_fed += len(data)
            if self._head_fed > self._app.limits.head_bytes and not self._request.method:
                self._refuse(self._head_too_large())
        if self._queue and self.relay is None:
            self._next()
        if len(self._queue) > self._app.limits.pipelined and self._reading:
            self._reading = False
            self._transport.pause_reading()

    def pause_writing(self) -> None:
        if self.relay is not None:
            self.relay.pause()

    def resume_writing(self) -> None:
        if self.relay is not None:
            self.relay.resume()

    # -- httptools --------------------------------------------------------------------------------------------------

    def on_message_begin(self) -> None:
        if not self._refused:
            self._request = Request(self.last_read)
            self._head_size = self._head_fed = 0

    def on_url(self, url: bytes) -> None:
        if self._request is not None:
            self._request.target += url
            self._head_size += len(url)

    def on_header(self, name: bytes, value: bytes) -> None:
        request = self._request
        if request is None or request.method:
            return  # refused, or a trailer: trailers carry nothing an engine needs
        self._head_size += len(name) + len(value) + 4
        lower = name.lower()
        if lower in READ_OF_REQUEST:
            if lower in ONCE and lower in request.special:
                self._refuse(BadRequest(f"The header {lower.decode()} is given twice."))
                return
            request.special[lower] = value
        else:
            request.headers.append(name + b": " + value)

    def on_headers_complete(self) -> None:
        request = self._request
        if request is None:
            return
        request.method = self._parser.get_method()
        request.http11 = self._parser.get_http_version() == "1.1"
        request.keep_alive = self._parser.should_keep_alive()
        error = self._judge(request)
        if error is not None:
            self._refuse(error)
        elif request.expects_continue and self.relay is None and not self._queue:
            self._transport.write(CONTINUE)

    def on_body(self, body: bytes) -> None:
        if self._request is None:
            return
        self._body_size += len(body)
        if self._body_size > self._app.limits.body_bytes:
            self._refuse(self._body_too_large())
            return
        self._body.append(body)

    def on_message_complete(self) -> None:
        request = self._request
        if request is None:
            return
        body = self._body
        request.body = body[0] if len(body) == 1 else b"".join(body)
        request.bytes_in = len(request.body)
        self._request = None
        self._body = []
        self._body_size = 0
        self._queue.append(request)

    # -- judging a head ---------------------------------------------------------------------------------------------

    def _judge(self, request: Request) -> RequestError | None:
        """What is wrong with a head that parsed."""
        special = request.special
        if self._head_size > self._app.limits.head_bytes:
            return self._head_too_large()
        if request.method == b"CONNECT":
            return method_not_allowed(request.method, "GET, POST")
        if request.http11 and not special.get(b"host"):
            return BadRequest("The request has no Host header.")
        if request.target[:1] != b"/":
            return self._absolute(request)
        coding = special.get(b"transfer-encoding")
        if coding is not None:
            if not request.http11 or b"content-length" in special:
                return BadRequest("Transfer-Encoding goes with neither HTTP/1.0 nor Content-Length.")
            if coding.strip().lower() != b"chunked":
                return BadRequest(f"Transfer-Encoding {coding.decode('latin-1')!r} is not known; send `chunked`.")
        length = special.get(b"content-length")
        if length is not None and int(length) > self._app.limits.body_bytes:
            return self._body_too_large()
        expect = special.get(b"expect")
        if expect is not None:
            if expect.lower() != b"100-continue":
                return ExpectationFailed(f"Expect {expect.decode('latin-1')!r} is not known; send `100-continue`.")
            request.expects_continue = request.http11
        connection = special.get(b"connection")
        if connection is not None and connection not in PLAIN_CONNECTION:
            request.headers = without(request.headers, connection)
        return None

    def _absolute(self, request: Request) -> RequestError | None:
        """A target in absolute form (RFC 9112, 3.2.2) is read as its path; anything else is refused."""
        scheme, mark, rest = request.target.partition(b"://")
        if mark and scheme.lower() in (b"http", b"https"):
            slash = rest.find(b"/")
            request.target = rest[slash:] if slash >= 0 else b"/"
            return self._judge(request)
        return BadRequest(f"The request target {request.target.decode('latin-1')!r:.200} is not a path.")

    def _head_too_large(self) -> RequestError:
        limit = self._app.limits.head_bytes
        return HeadTooLarge(f"Request line and headers exceed limits.head_bytes ({limit} bytes).")

    def _body_too_large(self) -> RequestError:
        limit = self._app.limits.body_bytes
        return TooLarge(f"The request body exceeds limits.body_bytes ({limit} bytes).", param="body")

    def _refuse(self, error: RequestError) -> None:
        """Queues an error as the connection's last answer: what follows on it can no longer be trusted."""
        if self._refused:
            return
        self._refused = True
        request = self._request or Request(self.last_read)
        request.error = error
        request.keep_alive = False
        self._request = None
        self._body = []
        self._unread = True
        self._queue.append(request)
        if self.relay is None:
            self._next()

    # -- one answer after the other ---------------------------------------------------------------------------------

    def _next(self) -> None:
        request = self._queue.popleft()
        Life(handle(self._app, self, request))

    def done(self, keep: bool) -> None:
        """The answer under way is out. Called once per request, after its Record is closed."""
        self.relay = None
        if self.lost:
            return
        if not keep:
            self._close()
            return
        self.last_read = monotonic()
        if not self._reading and len(self._queue) <= self._app.limits.pipelined:
            self._reading = True
            self._transport.resume_reading()
        if self._queue:
            asyncio.get_running_loop().call_soon(self._go_on)
        elif self._app.draining and self._request is None:
            self._transport.close()
        elif self._request is not None and self._request.expects_continue:
            self._transport.write(CONTINUE)

    def _go_on(self) -> None:
        if self._queue and self.relay is None and not self.lost:
            self._next()

    def _close(self) -> None:
        if self._unread and self._transport.can_write_eof():
            self.lingering = True
            self.closing_at = monotonic() + LINGER_S
            if not self._reading:
                self._reading = True
                self._transport.resume_reading()
            self._transport.write_eof()
        else:
            self._transport.close()

    # -- for the relay and the sweep --------------------------------------------------------------------------------

    def send(self, data: bytes) -> None:
        if not self.lost:
            self._transport.write(data)

    def abort(self) -> None:
        if not self.lost:
            self._transport.abort()

    def overloaded(self) -> None:
        """Turns the connection away before it sends anything: one more would take memory from those served."""
        self.last_read = monotonic()
        self._refuse(
            Unavailable("The gateway has limits.connections open connections.", code="overloaded", retry_after_s=1.0)
        )

    def close_if_idle(self) -> None:
        """For draining: a connection without a request has nothing to wait for."""
        if self.relay is None and self._request is None and not self._queue and not self.lost:
            self._transport.close()

    def sweep(self, now: float) -> None:
        """Enforces the timeouts that belong to the connection. Called a few times a second."""
        timeouts = self._app.timeouts
        if self.lingering:
            if now > self.closing_at:
                self._transport.abort()
        elif self.relay is not None or self._queue:
            return
        elif self._request is None:
            if now - self.last_read > timeouts.idle:
                self._transport.close()
        elif not self._request.method:
            if now - self._request.received > timeouts.head:
                self._refuse(RequestTimeout(f"The request head took longer than timeouts.head ({timeouts.head:g} s)."))
        elif now - self.last_read > timeouts.body:
            reason = f"Nothing of the request body came for timeouts.body ({timeouts.body:g} s)."
            self._refuse(RequestTimeout(reason))
