"""An answer on its way to one client.

Before the commit point (the first content byte) the head is held, so a failed attempt can move to another engine
unseen. After it nothing is retried: a failure becomes a typed event inside the stream, or an aborted connection where
the framing leaves no room for one.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Protocol

from penstock.core.clock import monotonic
from penstock.core.engine import Engine, Exchange, Flow, ResponseHead, Sink
from penstock.core.errors import ClientLeft, RequestError, UpstreamFailed
from penstock.core.record import Attempt, PrefillLeg, Record, TokenSource, Usage
from penstock.core.request import Request
from penstock.gateway.answer import connection_header, error_answer, json_answer, status_line
from penstock.gateway.hedge import Race
from penstock.gateway.life import Wait
from penstock.gateway.stream import NO_TOKENS, EventStream, Tokens, take_tokens
from penstock.gateway.verdict import Verdict
from penstock.policy.fair import Turn
from penstock.policy.identity.access import ANYBODY
from penstock.policy.resilience.fallback import Step
from penstock.policy.route.disaggregate import Split
from penstock.policy.route.facts import Decision, Lease
from penstock.telemetry.meter import Meter
from penstock.telemetry.series import OTHER
from penstock.wire import openai, sse
from penstock.wire.chunks import payload_bytes
from penstock.wire.openai import NO_CALL, Call

if TYPE_CHECKING:
    from penstock.gateway.app import App
    from penstock.gateway.billing import Bill
    from penstock.gateway.limiter import Held
    from penstock.gateway.tries import Tries

KEPT_FOR_USAGE = 256 * 1024
"""Bytes of a JSON answer kept to read its usage; of a longer one only the end is."""


def client_left() -> ClientLeft:
    return ClientLeft("The client closed the connection before the answer was complete.")


class Transcript:
    """What the audit log keeps of one request: its body, and a streamed answer up to a bound."""

    __slots__ = ("_left", "pieces", "request")

    def __init__(self, request: bytes, most: int) -> None:
        self.request = request
        self.pieces: list[bytes] = []
        self._left = most

    def add(self, piece: bytes) -> None:
        self._left -= len(piece)
        if self._left >= 0:
            self.pieces.append(piece)


class Client(Protocol):
    """The connection an answer goes to."""

    send: Callable[[bytes], None]

    def abort(self) -> None: ...


class Relay:
    """The sink of one request's answer. `failure` of an attempt is None once the answer has gone out whole."""

    __slots__ = (
        "_attempt",
        "_chunked",
        "_client",
        "_exchange",
        "_json",
        "_kept",
        "_kept_size",
        "_meter",
        "_paused",
        "_reported",
        "_row",
        "_stream",
        "attempts",
        "bill",
        "bytes_out",
        "call",
        "committed",
        "decisions",
        "ended",
        "ended_at",
        "engine",
        "extra",
        "failure",
        "first_at",
        "flow",
        "has_standin",
        "head_held",
        "heard_at",
        "hedge_at",
        "held",
        "keep",
        "key",
        "last_at",
        "lease",
        "left",
        "limit_lines",
        "may_move",
        "model",
        "paused_at",
        "prefill",
        "principal",
        "queue_s",
        "queued",
        "request",
        "request_id",
        "sent_at",
        "split",
        "status",
        "steps",
        "transcript",
        "tries",
        "turn",
        "was_reused",
        "well",
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
        self.bytes_out = 0
        self.flow: Flow | None = None
        self._exchange: Exchange | None = None
        self._attempt: Wait[RequestError | None] | None = None
        self._stream: EventStream | None = None
        self._paused = False
        self._chunked = False
        self._json = False
        self._kept: list[bytes] | None = None
        self._reported: Usage | None = None
        self._kept_size = 0
        self._client = client
        self.call = NO_CALL
        self.request = request
        self.request_id = request_id
        self.attempts: list[Attempt] = []
        self.steps: Sequence[Step] = ()
        """Models and pools in the order they are asked; empty where nothing stands in."""
        self.decisions: Sequence[Decision] = ()
        """Why each try went where it did; empty where there was no choice."""
        self.split: Split | None = None
        """Whether it goes in two legs, and why; None where that was no question."""
        self.prefill: PrefillLeg | None = None
        """The first of two legs, once it has begun."""
        self.has_standin = False
        """Another model or pool may be asked should these engines fail."""
        self.may_move: Callable[[int], bool] | None = None
        """Whether an error with this status may be dropped for another engine's answer. Not asked of what is well."""
        self.queue_s = 0.0
        self.queued: Wait[RequestError | None] | None = None
        """What it waits for in the queue, while it does."""
        self.lease: Lease | None = None
        """Its claim on the engine that it is at."""
        self.well = False
        """An engine that was chosen among others answered, and what that teaches is still to be learnt."""
        self.tries: Tries | None = None
        """Where it may go besides; None where there is no choice."""
        self.turn: Turn | None = None
        """What its tenant is charged for it; None where nobody ever waits."""
        self.hedge_at = 0.0
        """When a second engine may be asked; 0 for never."""
        self.principal = ANYBODY
        """Who asks."""
        self.held: Held | None = None
        """What it has reserved of its limits."""
        self.bill: Bill | None = None
        """Its place in the ledger, where there is one."""
        self.transcript: Transcript | None = None
        """What was asked and answered, where the audit log keeps content."""
        self.limit_lines: Sequence[bytes] = ()
        """`x-ratelimit-*`, where they are told."""
        self.extra: Sequence[bytes] = ()
        """Lines to add to the response head."""
        self.keep = keep

    # -- steering, from handle and the sweep ------------------------------------------------------------------------

    def attempt(self, engine: Engine, meter: Meter, call: Call, fresh: bool) -> Wait[RequestError | None]:
        """Sends the request; the result tells how that ended: None, or what went wrong."""
        attempt = self._attempt = Wait()
        self._meter = meter
        self.call = call
        self.head_held = self._stream = None
        self.sent_at = self.last_at = monotonic()
        if self.bill is not None:
            self.bill.open(self)
        exchange = engine.send(self.request, self, self.request_id, fresh=fresh)
        if not attempt.done:
            self._exchange = exchange
            if self._paused:
                exchange.pause()
        return attempt

    def ahead(self, engine: Engine, request: Request, sink: Sink, *, fresh: bool) -> Wait[RequestError | None]:
        """Sends something else before the request itself, for `sink`, which calls `ahead_ended`. What ends an attempt
        from this side ends it too."""
        ahead = self._attempt = Wait()
        self.sent_at = self.last_at = monotonic()
        if self.bill is not None:
            self.bill.open(self)
        exchange = engine.send(request, sink, self.request_id, fresh=fresh)
        if not ahead.done:
            self._exchange = exchange
        return ahead

    def ahead_ended(self, error: RequestError | None) -> None:
        """What was sent ahead has been answered, or failed."""
        self._leave_exchange()
        self._settle(error)

    def answer(self, status: int, body: bytes) -> None:
        """A whole answer of the gateway's own."""
        self.status = status
        self._finish(json_answer(status, body, self.request, self.request_id, keep=self.keep), len(body))

    def refuse(self, error: RequestError) -> None:
        """An error before the commit point; nothing has reached the client yet."""
        self.status = error.status
        data = error_answer(error, self.request, self.request_id, keep=self.keep, extra=self.extra)
        if self.bill is not None:
            self.bill.close(self, error, monotonic())
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
        """Ends the attempt, or the wait for one, from this side."""
        if self.queued is not None:
            self.queued.set(error)
        exchange, self._exchange = self._exchange, None
        if exchange is not None:
            exchange.cancel()
        self.failed(error)

    def hedge(self, app: App) -> None:
        """Asks a second engine if the first is late and there is one to ask."""
        self.hedge_at = 0.0
        exchange, lease, tries = self._exchange, self.lease, self.tries
        if exchange is None or lease is None or tries is None or self.head_held is not None:
            return
        if (engine := tries.hedge()) is not None:
            race = self._exchange = Race(app, self, exchange, lease)
            race.join(engine)

    def taken_over(self, exchange: Exchange | None, lease: Lease, started: float) -> None:
        """A race is over: the answer comes from here, or none comes."""
        self._exchange = exchange
        self.lease = lease
        self.engine = lease.engine
        self.sent_at = started

    def pause(self) -> None:
        self._paused = True
        self.paused_at = monotonic()
        if self._exchange is not None:
            self._exchange.pause()

    def resume(self) -> None:
        self._paused = False
        self.settle_flow()
        self.last_at = monotonic()
        self.paused_at = 0.0
        if self._exchange is not None:
            self._exchange.resume()

    def heartbeat(self, now: float) -> None:
        """A comment on a silent stream. It commits a held head: bytes on the wire keep proxies and clients awake."""
        head, stream = self.head_held, self._stream
        if self.ended or self._paused or head is None or stream is None or not self._chunks(head):
            return
        self.settle_flow()
        data = b"" if self.committed else self._commit(head, None)
        if stream.between_events:
            self._client.send(data + b"%x\r\n%b\r\n" % (len(sse.HEARTBEAT), sse.HEARTBEAT))
            self.heard_at = now

    # -- Sink -------------------------------------------------------------------------------------------------------

    def head(self, head: ResponseHead) -> None:
        if head.status >= 400 and self.may_move is not None and self.may_move(head.status):
            reason = f"The engine answered {head.status} and another was asked."
            self.expire(UpstreamFailed(reason, code="upstream_busy"))
            return
        self.head_held = head
        self.status = head.status
        if head.sse and not head.opaque:
            meter, call = self._meter, self.call
            row = meter.traffic(meter.route(self.request.path), call.model or OTHER, self.engine)
            self._row = row
            self._stream = EventStream(self._client.send, row.numbers, count_content=not call.reports_usage)

    def data(self, piece: bytes, last: bool) -> None:
        now = monotonic()
        stream = self._stream
        first = not self.first_at
        if stream is not None:
            self.settle_flow()
            if stream.held or not piece.endswith(b"\n"):
                piece = stream.whole_lines(piece, last=last)
                self.flow = None
                if not piece:
                    self.last_at = now
                    return
            stream.passed(piece, None if first else now - self.last_at)
            if self.transcript is not None:
                self.transcript.add(piece)
        elif self._json or (first and piece[:1] == b"{"):
            self._json = True
            self._keep(piece)
        if first:
            self.first_at = now
        self.last_at = now
        self.bytes_out += len(piece)
        if last and self.bill is not None:
            self.bill.close(self, None, now)
        data = b"" if self.committed else self._commit(self._known_head(), piece if last else None)
        if self._chunked:
            data += b"%x\r\n%b\r\n0\r\n\r\n" % (len(piece), piece) if last else b"%x\r\n%b\r\n" % (len(piece), piece)
            self.ended = last
            if stream is not None and not stream.held and self.transcript is None:
                self.flow = stream
        else:
            data += piece
        self._client.send(data)

    def settle_flow(self) -> None:
        """Counts what has flowed through since the last look."""
        stream = self._stream
        if stream is not None and stream.chunks:
            self.bytes_out += payload_bytes(stream.chunks)
            self.last_at = stream.flowed(self.last_at)

    def _known_head(self) -> ResponseHead:
        assert self.head_held is not None  # the engine pushes `head` first
        return self.head_held

    def _keep(self, piece: bytes) -> None:
        kept = self._kept
        if kept is None:
            self._kept = [piece]
            self._kept_size = len(piece)
            return
        kept.append(piece)
        self._kept_size += len(piece)
        while self._kept_size > KEPT_FOR_USAGE and len(kept) > 1:
            self._kept_size -= len(kept.pop(0))

    def end(self) -> None:
        if self.bill is not None:
            self.bill.close(self, None, monotonic())
        held = self._stream.held if self._stream is not None else b""
        data = b"" if self.committed else self._commit(self._known_head(), held)
        self.bytes_out += len(held)
        if self._chunked and not self.ended:
            if held:
                data += b"%x\r\n%b\r\n" % (len(held), held)
            data += b"0\r\n\r\n"
        else:
            data += held
        if data:
            self._client.send(data)
        self.ended = True
        self._leave_exchange()
        self._settle(None)

    def failed(self, error: RequestError) -> None:
        self._leave_exchange()
        if self.committed and not self.ended:
            self.ended = True
            if self.bill is not None:
                self.bill.close(self, error, monotonic())
            if self._chunked and self._stream is not None:
                self.settle_flow()
                body = openai.error_body(error, anthropic=self.request.path.startswith(b"/v1/messages"))
                event = sse.error_event(body, mid_event=not self._stream.between_events)
                self._client.send(b"%x\r\n%b\r\n0\r\n\r\n" % (len(event), event))
            else:
                # The declared length or a JSON document leaves no room for an error: an incomplete message says it.
                self.keep = False
                self._client.abort()
        self._settle(error)

    def _leave_exchange(self) -> None:
        exchange, self._exchange = self._exchange, None
        if exchange is not None:
            self.was_reused = exchange.reused

    def _settle(self, error: RequestError | None) -> None:
        if self._attempt is not None:
            self._attempt.set(error)

    # -- framing ----------------------------------------------------------------------------------------------------

    def _chunks(self, head: ResponseHead) -> bool:
        return head.content_length is None and self.request.http11 and not head.bodyless

    def _commit(self, head: ResponseHead, whole: bytes | None) -> bytes:
        """The head's bytes. `whole`: the entire body, when it is known already."""
        self.committed = True
        start = head.lines
        if start is None:
            start = head.lines = b"\r\n".join([status_line(head.status), *head.headers])
        if head.content_length is not None:
            framing = b"content-length: %d\r\n" % head.content_length
        elif head.bodyless:
            framing = b""
        elif whole is not None:
            framing = b"content-length: %d\r\n" % len(whole)
        elif self.request.http11:
            self._chunked = True
            framing = b"transfer-encoding: chunked\r\n"
        else:
            framing = b""
            self.keep = False  # HTTP/1.0: the end of the connection ends the body
        if self.extra:
            framing = b"\r\n".join(self.extra) + b"\r\n" + framing
        if not (self.keep and self.request.http11):
            framing += connection_header(http11=self.request.http11, keep=self.keep)
        return b"%b\r\nx-request-id: %b\r\n%b\r\n" % (start, self.request_id, framing)

    # -- what is known at the end -----------------------------------------------------------------------------------

    def verdict(self, failure: RequestError | None) -> Verdict:
        """How the attempt went that has just ended with `failure`."""
        if self.left or (failure is None and 400 <= self.status < 500):
            return Verdict(None)
        ok = failure is None and self.status < 500
        code = failure.code if failure is not None else "" if ok else f"status_{self.status}"
        usage = self._usage() if ok else None
        read, cached = (usage.input_tokens, usage.cached_tokens) if usage is not None else (0, 0)
        if not self.first_at or self._stream is None:
            return Verdict(ok, code, prompt_tokens=read, cached_tokens=cached)
        events = self._stream.events
        tpot_s = (self.last_at - self.first_at) / (events - 1) if events > 1 else None
        return Verdict(ok, code, self.first_at - self.sent_at, tpot_s, read, cached)

    def spent(self) -> tuple[int, int, int]:
        """Output tokens, input tokens, and those of the input that were cached: as reported, else the events that
        passed, and 0 for an input that is not known."""
        usage = self._usage()
        return (self.events, 0, 0) if usage is None else (usage.output_tokens, usage.input_tokens, usage.cached_tokens)

    def _usage(self) -> Usage | None:
        if self._stream is not None:
            self.settle_flow()
            return self._stream.usage()
        kept = self._kept
        if kept and self._reported is None:
            self._reported = openai.find_usage(kept[0] if len(kept) == 1 else b"".join(kept))
        return self._reported

    @property
    def streaming(self) -> bool:
        return self._stream is not None

    @property
    def flowed(self) -> int:
        """Chunks of a stream that have passed and are not counted yet."""
        return len(self._stream.chunks) if self._stream is not None else 0

    @property
    def heard_last(self) -> float:
        """When the engine last sent something."""
        stream = self._stream
        return stream.arrivals[-1] if stream is not None and stream.arrivals else self.last_at

    @property
    def longest_gap_s(self) -> float:
        """The longest silence between two pieces of a stream."""
        self.settle_flow()
        return self._stream.gap_max if self._stream is not None else 0.0

    @property
    def events(self) -> int:
        return self._stream.events if self._stream is not None else 0

    def mark(self, meter: Meter) -> None:
        """Counts what a stream has brought, and has it flushed with the rest."""
        if self._stream is not None:
            self.settle_flow()
            self._stream.tally(self.last_at - self.first_at)
            meter.mark(self._row)

    def tokens(self) -> Tokens:
        """What the request has used so far."""
        if self._stream is not None:
            self.settle_flow()
            return self._stream.tokens(self.request.bytes_in)
        usage = self._usage()
        return (usage, TokenSource.USAGE) if usage is not None else NO_TOKENS

    def content(self) -> tuple[bytes, bytes]:
        """Request and answer, where they are kept for the audit log."""
        if self.transcript is None:
            return b"", b""
        return self.transcript.request, b"".join(self._kept or self.transcript.pieces)

    def fill(self, record: Record) -> None:
        """Writes what was measured into the Record."""
        record.bytes_out = self.bytes_out
        take_tokens(record, self.tokens())
        if self._stream is not None:
            if self.first_at:
                record.ttft_s = self.first_at - self.request.received
            self._stream.fill(record, self.last_at - self.first_at)
