"""An event stream as it passes: whole lines go on, events are counted, gaps are timed. No event is parsed."""

from bisect import bisect_left
from collections.abc import Callable
from operator import sub

from penstock.core.engine import Flow
from penstock.core.record import Record, TokenSource, Usage
from penstock.telemetry import buckets
from penstock.telemetry.meter import BETWEEN, BETWEEN_SUM, EVENTS, observe_all
from penstock.wire import openai, sse

Tokens = tuple[Usage, TokenSource]
"""What a request used, and who says so."""
NO_TOKENS: Tokens = (Usage(), TokenSource.NONE)
SHORT = 64
"""A last piece shorter than this is `[DONE]` or the like; usage stands in the piece before it."""
USAGE_REACH = 4096


class EventStream(Flow):
    """What is known of one stream. `numbers`: the row where its inter-token latency and events are counted."""

    __slots__ = (
        "_events_told",
        "_gap_sum_told",
        "_numbers",
        "_usage_first",
        "content_events",
        "count_content",
        "events",
        "gap_count",
        "gap_max",
        "held",
        "last",
    )

    def __init__(self, send: Callable[[bytes], None], numbers: list[float], *, count_content: bool) -> None:
        super().__init__(send)
        self._numbers = numbers
        self.count_content = count_content
        self.last = b""
        """The last piece passed, with what precedes it where it is short."""
        self._usage_first: Usage | None = None
        self.held = b""
        """An unfinished line, kept back so that an event of ours never lands inside one of the engine's."""
        self.events = 0
        self.content_events = 0
        self._events_told = 0
        self._gap_sum_told = 0.0
        self.gap_count = 0
        self.gap_max = 0.0

    @property
    def between_events(self) -> bool:
        """Whether what has passed ends with a whole event."""
        return not self.last or self.last.endswith((b"\n\n", b"\r\n\r\n", b"\n\n\r\n"))

    def whole_lines(self, piece: bytes, *, last: bool) -> bytes:
        """What may pass now, of what was held and what has come."""
        if last:
            passing, self.held = self.held + piece, b""
        else:
            passing, self.held = sse.split_line(self.held, piece)
        return passing

    def passed(self, piece: bytes, gap: float | None) -> None:
        """Measures a piece on its way. `gap`: seconds since the piece before; None for the first."""
        self.events += sse.count_events(piece)
        if self.count_content:
            self.content_events += openai.count_content(piece)
        if gap is None:
            self._usage_first = openai.find_usage(piece)
        else:
            self._numbers[BETWEEN + bisect_left(buckets.TOKEN, gap)] += 1
            self.gap_count += 1
            if gap > self.gap_max:
                self.gap_max = gap
        if len(piece) < SHORT and self.last:
            piece = self.last[-USAGE_REACH:] + piece
        self.last = piece

    def flowed(self, last_at: float) -> float:
        """Measures the chunks that were noted, and forgets them. `last_at`: arrival of the piece before; returns that
        of the last."""
        arrivals, chunks = self.arrivals, self.chunks
        gaps = list(map(sub, arrivals, [last_at, *arrivals]))
        observe_all(self._numbers, BETWEEN, buckets.TOKEN, gaps)
        self.gap_count += len(gaps)
        if gaps[-1] > self.gap_max:  # they are sorted now
            self.gap_max = gaps[-1]
        last_at = arrivals[-1]
        flowed = b"".join(chunks)
        self.events += flowed.count(b"\ndata:")  # a chunk's head ends with a line feed
        if self.count_content:
            self.content_events += openai.count_content(flowed)
        self.last = chunks[-1]
        arrivals.clear()
        chunks.clear()
        return last_at

    def tally(self, gap_sum: float) -> None:
        """Brings the row up to date. `gap_sum`: seconds from the first piece to the last so far."""
        numbers = self._numbers
        numbers[EVENTS] += self.events - self._events_told
        numbers[BETWEEN_SUM] += gap_sum - self._gap_sum_told
        self._events_told, self._gap_sum_told = self.events, gap_sum

    def usage(self) -> Usage | None:
        """Tokens as the engine reported them, so far."""
        return openai.merge(self._usage_first, openai.find_usage(self.last))

    def tokens(self, request_bytes: int) -> Tokens:
        """What the stream used so far."""
        usage = self.usage()
        if usage is not None:
            return usage, TokenSource.USAGE
        # Content is not counted where usage was promised; a stream that ended before it still spent tokens.
        if counted := self.content_events if self.count_content else self.events:
            return Usage(request_bytes // openai.BYTES_PER_TOKEN, counted), TokenSource.COUNTED
        return NO_TOKENS

    def fill(self, record: Record, first_to_last_s: float) -> None:
        """Writes what was measured into the Record, whose tokens are there already."""
        record.events = self.events
        record.itl_count, record.itl_sum_s, record.itl_max_s = self.gap_count, first_to_last_s, self.gap_max
        if record.output_tokens > 1 and self.gap_count:
            record.tpot_s = first_to_last_s / (record.output_tokens - 1)


def take_tokens(record: Record, tokens: Tokens) -> None:
    """Writes the tokens of a request into its Record."""
    usage, record.tokens_source = tokens
    record.input_tokens, record.output_tokens = usage.input_tokens, usage.output_tokens
    record.cached_tokens, record.reasoning_tokens = usage.cached_tokens, usage.reasoning_tokens
