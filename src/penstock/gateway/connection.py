"""The client's side of HTTP/1.1: bytes -> Requests, one answered at a time, in order, within limits.

llhttp (httptools) parses; this class decides what is let in. Ambiguous framing is refused and the connection closed,
so that no engine can ever read a request differently from how it was authorised.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, cast

import httptools

from penstock.core.clock import monotonic
from penstock.core.errors import (
    BadRequest,
    ExpectationFailed,
    HeadTooLarge,
    RequestError,
    RequestTimeout,
    TooLarge,
    Unavailable,
)
from penstock.core.request import Request
from penstock.gateway.answer import method_not_allowed
from penstock.gateway.handle import handle
from penstock.gateway.life import Life
from penstock.gateway.relay import Relay
from penstock.wire.heads import without
from penstock.wire.request_head import LONGEST_LENGTH, Template

if TYPE_CHECKING:
    from penstock.gateway.app import App

CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"
LINGER_S = 2.0
"""How long a refused client may go on sending before its connection is closed: closing at once would reset the
connection and could destroy the answer on its way (RFC 9112, 9.6)."""
LONGEST_TEMPLATE = 4096
MOST_STRANGERS = 3
"""Heads unlike the template after which a connection gets no other."""
UNUSUAL = frozenset({b"transfer-encoding", b"expect", b"upgrade"})
"""Headers whose requests are always looked at in full."""
LAST_CALL_S = 0.5
"""How long a draining gateway keeps a connection without a request: a busy client's next one is then answered with
`connection: close`, where closing at once would cut it off on its way."""
PLAIN_CONNECTION = frozenset({b"keep-alive", b"close", b"Keep-Alive", b"Close", b"upgrade", b"Upgrade"})


def _judge_framing(request: Request) -> RequestError | None:
    """Transfer-Encoding and Expect: what is not understood is refused."""
    special = request.special
    coding = special.get(b"transfer-encoding")
    if coding is not None:
        if not request.http11 or b"content-length" in special:
            return BadRequest("Transfer-Encoding goes with neither HTTP/1.0 nor Content-Length.")
        if coding.lower() != b"chunked":
            return BadRequest(f"Transfer-Encoding {coding.decode('latin-1')!r} is not known; send `chunked`.")
    expect = special.get(b"expect")
    if expect is not None:
        if expect.lower() != b"100-continue":
            return ExpectationFailed(f"Expect {expect.decode('latin-1')!r} is not known; send `100-continue`.")
        request.expects_continue = request.http11
    connection = special.get(b"connection")
    if connection is not None:
        request.headers = without(request.headers, connection)
    return None


def _into_the_void(data: bytes) -> None:
    """Where answers go once the client is gone."""


def _without_upgrade(head: bytes) -> list[bytes]:
    return [line for line in head.split(b"\r\n") if line[:8].lower() != b"upgrade:"]


class Connection(asyncio.Protocol):
    """One client connection. `relay` is the answer under way, if any."""

    __slots__ = (
        "_app",
        "_body",
        "_body_size",
        "_closing_at",
        "_full_since",
        "_head",
        "_head_since",
        "_left",
        "_model",
        "_parser",
        "_queue",
        "_reading",
        "_refused",
        "_request",
        "_strangers",
        "_template",
        "_transport",
        "_whole",
        "last_read",
        "lingering",
        "lost",
        "relay",
        "send",
    )

    def __init__(self, app: App) -> None:
        self.relay: Relay | None = None
        self.lingering = False
        self.lost = False
        self._transport = cast(asyncio.Transport, None)
        self._request: Request | None = None
        """The request being read: its head is known, its body is not whole."""
        self._head = b""
        """Bytes of a head that is not whole."""
        self._head_since = 0.0
        self._left = 0
        """Bytes of the body still to come, where its length was declared."""
        self._whole = False
        self._body_size = 0
        self._reading = True
        self._refused = False
        self._closing_at = 0.0
        """When a connection that is being closed is dropped, whatever its client does; 0 before."""
        self._full_since = 0.0
        """Since when the client takes no bytes; 0 while it does."""
        self._model = b""
        """A head that becomes the template when the parser has found its request valid."""
        self._template: Template | None = None
        """The last head, in case the next one repeats it."""
        self._strangers = 0
        """Heads that did not."""
        self.send: Callable[[bytes], None] = _into_the_void
        self._app = app
        self._parser = httptools.HttpRequestParser(self)
        self._queue: deque[Request] = deque()
        self._body: list[bytes] = []
        self.last_read = monotonic()

    # -- asyncio.Protocol -------------------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self.send = self._transport.write
        self._app.connected(self)

    def connection_lost(self, exc: Exception | None) -> None:
        self.lost = True
        self.send = _into_the_void
        self._queue.clear()
        self._app.disconnected(self)
        if self.relay is not None:
            self.relay.client_left()

    def data_received(self, data: bytes) -> None:
        if self.lingering:
            return
        self.last_read = monotonic()
        # The parser is fed one message at a time: heads whole, so that their lines are at hand.
        while data and not self._refused:
            if self._request is None:
                template = self._template
                # A head like the last one, with its body: the parser would find what it found then.
                if template is not None and not self._head:
                    found = template.read(data, self.last_read, self._app.limits.body_bytes)
                    if found is not None:
                        request, taken = found
                        self._queue.append(request)
                        if taken == len(data):
                            break
                        data = data[taken:]
                        continue
                data = self._read_head(data)
            elif self._left:
                body, data = (data, b"") if len(data) <= self._left else (data[: self._left], data[self._left :])
                self._left -= len(body)
                self._feed(body)
            else:
                data = self._read_chunks(data)
        if self._queue and self.relay is None and not self._full_since:
            self._next()
        if self._queue and self._reading and self._queue_is_full():
            self._reading = False
            self._transport.pause_reading()

    def _queue_is_full(self) -> bool:
        """Whether the requests that wait behind the one served are too many, or too much to hold."""
        queue, limits = self._queue, self._app.limits
        return len(queue) > limits.pipelined or (len(queue) > 1 and sum(r.bytes_in for r in queue) > limits.body_bytes)

    def _read_head(self, data: bytes) -> bytes:
        """Takes a head and what there is of its body from `data`; returns the bytes after them."""
        held = self._head
        if held:
            data = held + data
        else:
            self._head_since = self.last_read
        if data[:1] in (b"\r", b"\n"):
            data = data.lstrip(b"\r\n")  # empty lines before a request are ignored (RFC 9112, 2.2)
        end = data.find(b"\r\n\r\n", max(0, len(held) - 3)) + 4
        if end < 4 or end > self._app.limits.head_bytes:
            self._hold(data, end)
            return b""
        self._head = b""
        request = self._request = Request(self._head_since)
        error = self._understand(data[:end], request)
        if error is not None:
            self._refuse(error)
            return b""
        there = min(end + self._left, len(data))
        self._left -= there - end
        message = data if there == len(data) else data[:there]
        if b"upgrade" in request.special:
            # No protocol is switched to. llhttp must not see the offer: it would take the body for the new protocol.
            message = b"\r\n".join(_without_upgrade(data[: end - 4])) + data[end - 4 : there]
        self._feed(message)
        if request.expects_continue and self._request is request and self.relay is None and not self._queue:
            self._transport.write(CONTINUE)
        return data[there:]

    def _understand(self, head: bytes, request: Request) -> RequestError | None:
        """Fills a request from its head; returns what is wrong with it."""
        template = self._template
        if template is not None and not template.fits(head):
            self._template = None
            self._strangers += 1
        try:
            self._app.heads.read(head, request)
            error = self._judge(request)
        except BadRequest as bad:
            return bad
        if (
            error is None
            and self._template is None
            and self._strangers < MOST_STRANGERS
            and len(head) <= LONGEST_TEMPLATE
            and not (UNUSUAL & request.special.keys())
        ):
            self._model = head
        return error

    def _take_length(self, length: bytes | None) -> RequestError | None:
        """Notes how much body a declared length promises. What is no number is left for llhttp to refuse."""
        if length is not None and length.isdigit():
            # Python refuses to read numbers of thousands of digits.
            if len(length) > LONGEST_LENGTH or int(length) > self._app.limits.body_bytes:
                return self._body_too_large()
            self._left = int(length)
        return None

    def _read_chunks(self, data: bytes) -> bytes:
        """Feeds a chunked body line by line: a message can only end with one, so no slice holds bytes of the next.

        Returns the bytes after the body.
        """
        held, at = len(self._body), 0
        while at < len(data) and self._request is not None:
            end = data.find(b"\n", at) + 1 or len(data)
            self._feed(data[at:end])
            at = end
        if len(self._body) > held + 1:
            # Pieces of a byte or two would take many times the memory that the body's limit allows.
            self._body[held:] = [b"".join(self._body[held:])]
        return data[at:]

    def _hold(self, data: bytes, end: int) -> None:
        """Keeps a head that is not whole, within the limit."""
        self._head = data
        if max(len(data) if end < 4 else 0, end) > self._app.limits.head_bytes:
            self._refuse(self._head_too_large())
        elif data.count(b"\n") != data.count(b"\r\n"):
            self._refuse(BadRequest("A line of the request head ends in a bare line feed."))

    def _feed(self, data: bytes) -> None:
        """Gives the parser a slice. A request is complete when it says so."""
        try:
            self._parser.feed_data(data)
        except (httptools.HttpParserUpgrade, httptools.HttpParserError) as error:
            self._refuse(BadRequest(f"The request is not valid HTTP/1.1: {error}."))
            return
        if self._whole and self._request is not None:
            self._complete(self._request)

    def _complete(self, request: Request) -> None:
        body = self._body
        if body:
            request.body = body[0] if len(body) == 1 else b"".join(body)
            request.bytes_in = len(request.body)
            self._body = []
            self._body_size = 0
        if self._model:
            if request.keep_alive:
                self._template = Template(self._model, request)
            self._model = b""
        self._request = None
        self._whole = False
        self._left = 0
        self._queue.append(request)

    def pause_writing(self) -> None:
        self._full_since = monotonic()
        if self.relay is not None:
            self.relay.pause()

    def resume_writing(self) -> None:
        self._full_since = 0.0
        if self.relay is not None:
            self.relay.resume()
        elif not self._closing_at:
            self._proceed()

    # -- httptools --------------------------------------------------------------------------------------------------

    def on_headers_complete(self) -> None:
        if self._request is not None:
            self._request.keep_alive = self._parser.should_keep_alive()

    def on_body(self, body: bytes) -> None:
        self._body_size += len(body)
        if self._body_size <= self._app.limits.body_bytes:
            self._body.append(body)
        else:
            self._refuse(self._body_too_large())

    def on_message_complete(self) -> None:
        self._whole = True

    # -- judging a head ---------------------------------------------------------------------------------------------

    def _judge(self, request: Request) -> RequestError | None:
        """What the gateway itself finds wrong with a head; llhttp judges the bytes."""
        special = request.special
        if request.target[:1] != b"/" or request.method == b"CONNECT":
            return self._unusual_target(request)
        if request.http11 and not special.get(b"host"):
            return BadRequest("The request has no Host header.")
        error = self._take_length(special.get(b"content-length"))
        if error is not None:
            return error
        if b"transfer-encoding" in special or b"expect" in special:
            return _judge_framing(request)
        connection = special.get(b"connection")
        if connection is not None and connection not in PLAIN_CONNECTION:
            request.headers = without(request.headers, connection)
        return None

    def _unusual_target(self, request: Request) -> RequestError | None:
        """A target in absolute form (RFC 9112, 3.2.2) is read as its path; anything else is refused."""
        if request.method == b"CONNECT":
            return method_not_allowed(request.method, "GET, POST")
        scheme, mark, rest = request.target.partition(b"://")
        if mark and scheme.lower() in (b"http", b"https"):
            authority = rest.partition(b"?")[0].partition(b"/")[0]
            target = rest[len(authority) :]
            request.target = target if target[:1] == b"/" else b"/" + target
            request.path = request.target.partition(b"?")[0]
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
        self._head = b""
        self._body = []
        self._queue.append(request)
        if self.relay is None:
            self._next()

    # -- one answer after the other ---------------------------------------------------------------------------------

    def _next(self) -> None:
        request = self._queue.popleft()
        Life(handle(self._app, self, request))

    def done(self, keep: bool, now: float) -> None:
        """The answer under way is out. Called once per request."""
        self.relay = None
        if self.lost:
            return
        if not keep:
            self._close()
            return
        self.last_read = now
        if not self._full_since:
            self._proceed()

    def _proceed(self) -> None:
        """Goes on to the next request. A client that takes no bytes gets no further answers until it does."""
        if not self._reading and not self._queue_is_full():
            self._reading = True
            self._transport.resume_reading()
        if self._queue:
            asyncio.get_running_loop().call_soon(self._go_on)
        elif self._request is not None and self._request.expects_continue:
            self._transport.write(CONTINUE)

    def _go_on(self) -> None:
        if self._queue and self.relay is None and not self.lost:
            self._next()

    def _close(self) -> None:
        if self._refused and self._transport.can_write_eof():
            self.lingering = True
            self._closing_at = monotonic() + LINGER_S
            if not self._reading:
                self._reading = True
                self._transport.resume_reading()
            self._transport.write_eof()
        else:
            self._end()

    def _end(self) -> None:
        """Closes once what was sent is taken, or after a while: a client that does not read must not hold us."""
        self._closing_at = monotonic() + self._app.timeouts.client_stall
        self._transport.close()

    # -- for the relay and the sweep --------------------------------------------------------------------------------

    def abort(self) -> None:
        if not self.lost:
            self._transport.abort()

    def overloaded(self) -> None:
        """Turns the connection away before it sends anything: one more would take memory from those served."""
        self.last_read = monotonic()
        self._refuse(
            Unavailable("The gateway has limits.connections open connections.", code="overloaded", retry_after_s=1.0)
        )

    @property
    def settled(self) -> bool:
        """It is closing and the system has taken all of its answers; what is left is the client's goodbye."""
        return self._closing_at > 0 and not self._transport.get_write_buffer_size()

    def sweep(self, now: float) -> None:
        """Enforces the timeouts that belong to the connection. Called a few times a second."""
        if self._closing_at:
            if now > self._closing_at:
                self._give_up(now)
        elif self.relay is not None:
            return
        elif self._full_since:
            if now - self._full_since > self._app.timeouts.client_stall:
                self._transport.abort()
        elif not self._queue:
            self._sweep_reading(now)

    def _sweep_reading(self, now: float) -> None:
        """Nothing is being answered: a head, a body or the next request is waited for."""
        timeouts = self._app.timeouts
        if self._head:
            if now - self._head_since > timeouts.head:
                self._refuse(RequestTimeout(f"The request head took longer than timeouts.head ({timeouts.head:g} s)."))
        elif self._request is None:
            if now - self.last_read > (min(timeouts.idle, LAST_CALL_S) if self._app.draining else timeouts.idle):
                self._end()
        elif now - self.last_read > timeouts.body:
            reason = f"Nothing of the request body came for timeouts.body ({timeouts.body:g} s)."
            self._refuse(RequestTimeout(reason))

    def _give_up(self, now: float) -> None:
        """Drops a connection that was to be closed, unless a lingering client still takes answers."""
        stalled = now > self._closing_at + self._app.timeouts.client_stall
        if not self.lingering or stalled or not self._transport.get_write_buffer_size():
            self._transport.abort()
