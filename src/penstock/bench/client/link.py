"""One connection to the server: one request at a time, timed where its bytes are read."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, cast

import httptools

from penstock.bench.client.answer import Events, counts, whole
from penstock.bench.sample import Ending, Planned, Sample
from penstock.core.clock import monotonic

KEPT = 1 << 20
"""Bytes of an answer in one piece that are kept to read its usage."""


class Link(asyncio.Protocol):
    """`idle` is called when it can take another request, `gone` when it cannot any more."""

    def __init__(self, began: float, idle: Callable[[Link], None], gone: Callable[[Link], None]) -> None:
        self._began = began
        self._idle = idle
        self._gone = gone
        self._transport: asyncio.Transport | None = None
        self._parser: httptools.HttpResponseParser | None = None
        self._sample: Sample | None = None
        self._over: Callable[[Sample, str], None] | None = None
        self._events: Events | None = None
        self._body: list[bytes] = []
        self._size = 0
        self._now = 0.0
        self.used = False

    # -- asking ------------------------------------------------------------------------------------------------------

    def ask(
        self, head: bytes, planned: Planned, sample: Sample, over: Callable[[Sample, str], None], *, keep: bool
    ) -> None:
        """Sends a request. `over(sample, text)` is called once, when its answer is whole or never will be; `text` is
        what the server said, if `keep` asks for it."""
        assert self._transport is not None
        self._sample, self._over, self._keep = sample, over, keep
        self._path = planned.path
        self._events = None
        self._body, self._size = [], 0
        self._parser = httptools.HttpResponseParser(self)
        sample.reused, self.used = self.used, True
        sample.sent = monotonic() - self._began
        self._transport.write(head + planned.body)

    def leave(self, ending: Ending, error: str = "") -> None:
        """Breaks the request off: its client leaves, or has waited long enough."""
        if self._sample is not None:
            self._now = monotonic() - self._began
            self._end(ending, error)
        self.close()

    def close(self) -> None:
        if self._transport is not None:
            self._transport.abort()

    # -- asyncio -----------------------------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        self._now = monotonic() - self._began
        sample = self._sample
        if sample is None or self._parser is None:
            self.close()  # bytes that nobody asked for
            return
        sample.bytes_in += len(data)
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError as error:
            if self._sample is not None:
                self._end(Ending.MALFORMED, str(error)[:200])
            self.close()

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None
        if self._sample is not None:
            self._now = monotonic() - self._began
            self._end(Ending.RESET, str(exc or "the server closed the connection")[:200])
        self._gone(self)

    # -- httptools ---------------------------------------------------------------------------------------------------

    def on_header(self, name: bytes, value: bytes) -> None:
        sample = self._sample
        assert sample is not None
        match name.lower():
            case b"content-type":
                if value.lower().startswith(b"text/event-stream"):
                    self._events = Events(self._path, keep=self._keep)
            case b"x-penstock-engine":
                sample.engine = value.decode("latin-1")
            case b"x-penstock-queue-seconds":
                try:
                    sample.queue_s = float(value)
                except ValueError:
                    sample.queue_s = 0.0

    def on_headers_complete(self) -> None:
        assert self._sample is not None
        assert self._parser is not None
        self._sample.status = self._parser.get_status_code()

    def on_body(self, body: bytes) -> None:
        sample, events = self._sample, self._events
        assert sample is not None
        if events is None:
            if not sample.first:
                sample.first = self._now
            self._size += len(body)
            if self._size <= KEPT:
                self._body.append(body)
            return
        found = events.feed(body)
        if found:
            now = self._now
            if sample.first:
                sample.gaps.append(now - sample.last)
            else:
                sample.first = now
            if found > 1:
                sample.gaps.extend([0.0] * (found - 1))
            sample.last = now
            sample.events += found

    def on_message_complete(self) -> None:
        sample, events, parser = self._sample, self._events, self._parser
        assert sample is not None
        assert parser is not None
        if sample.status < 200:
            return  # 100 Continue and its like: the answer is yet to come
        if events is None:
            usage, text, ending, error = self._whole(sample.status)
            sample.last = sample.first
        else:
            usage, text, error = events.usage, events.text, events.error
            ending = Ending.STATUS if sample.status >= 400 else Ending.STREAM_ERROR if error else Ending.OK
            if ending is Ending.OK and not events.done:
                ending, error = Ending.STREAM_ERROR, "the stream ended without [DONE]"
        sample.input_tokens, sample.output_tokens, sample.cached_tokens = counts(usage)
        self._end(ending, error, text, alive=parser.should_keep_alive())

    def _whole(self, status: int) -> tuple[dict[str, Any], str, Ending, str]:
        """(usage, text, ending, error) of an answer in one piece."""
        bad = Ending.STATUS if status >= 400 else None
        try:
            usage, text, error = whole(b"".join(self._body))
        except ValueError as problem:
            return {}, "", bad or Ending.MALFORMED, f"no JSON: {problem}"[:200]
        return usage, text, bad or Ending.OK, error

    def _end(self, ending: Ending, error: str, text: str = "", *, alive: bool = False) -> None:
        sample, over = self._sample, self._over
        assert sample is not None
        assert over is not None
        self._sample = self._over = None
        sample.ended = self._now
        sample.ending, sample.error = ending, error
        if not sample.output_tokens and sample.events:
            sample.output_tokens, sample.counted = sample.events, True
        if alive and self._transport is not None:
            self._idle(self)  # before the news: what comes next may take it
        else:
            self.close()
        over(sample, text)
