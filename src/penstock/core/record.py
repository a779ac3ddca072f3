"""The Record: what is known of one request when it has ended. Metrics, log, ledger and reports read only this."""

from enum import StrEnum

import msgspec


class Outcome(StrEnum):
    """How a request ended. Exactly one per request (law 1)."""

    SUCCESS = "success"
    REJECTED = "rejected"
    CLIENT_LEFT = "client_left"
    UPSTREAM_FAILED = "upstream_failed"
    TIMED_OUT = "timed_out"
    UNAVAILABLE = "unavailable"
    INTERNAL_ERROR = "internal_error"


class TokenSource(StrEnum):
    """Where token counts come from."""

    USAGE = "usage"
    """The engine reported them."""
    COUNTED = "counted"
    """The engine said nothing; output tokens are the stream events that carried content."""
    NONE = "none"
    """Unknown: counts are zero and must not be read as a fact."""


class Usage(msgspec.Struct, frozen=True, gc=False):
    """Tokens of one request, whatever dialect reported them."""

    input_tokens: int = 0
    output_tokens: int = 0
    cached_tokens: int = 0
    reasoning_tokens: int = 0


class Attempt(msgspec.Struct, omit_defaults=True, gc=False):
    """One try at one engine."""

    engine: str
    started_s: float
    """Seconds after the request was received."""
    reused: bool = False
    """Sent on a kept-alive connection."""
    error: str = ""
    """Error code when the attempt failed."""


class PrefillOutcome(StrEnum):
    """How the first of two legs ended. In all but the first case one engine did the whole request, or nobody did."""

    TRANSFERRED = "transferred"
    """Its engine told where the prompt's blocks are, and the decode engine was told."""
    NO_BLOCKS = "no_blocks"
    """Its engine answered well and told of no blocks."""
    REFUSED = "refused"
    """Its engine took no connection, or answered 4xx or 5xx."""
    TIMED_OUT = "timed_out"
    FAILED = "failed"
    """Its engine broke off, or its answer could not be read."""
    UNREAD = "unread"
    """The decode engine was told where the blocks are and answered 500."""
    CLIENT_LEFT = "client_left"
    STOPPED = "stopped"
    """`timeouts.total` or a drain ended the request."""


class PrefillLeg(msgspec.Struct, omit_defaults=True, gc=False):
    """The first of two legs: an engine that read the prompt for another. Not an attempt: it answers nobody."""

    engine: str
    started_s: float
    """Seconds after the request was received."""
    seconds: float = 0.0
    """What it took."""
    outcome: PrefillOutcome | None = None
    """None while it is under way."""

    def first_byte_s(self, most: float) -> float:
        """How long the leg under way may take to its first byte, of the `most` that both may: the first half at most,
        so that there is time left to do without it."""
        return most / 2 if self.outcome is None else max(most / 2, most - self.seconds)


class Record(msgspec.Struct, omit_defaults=True, gc=False):
    """One request. Durations in seconds, sizes in bytes, `time` in seconds since the epoch."""

    id: str
    time: float
    method: str = ""
    path: str = ""
    model: str = ""
    engine: str = ""
    key: str = ""
    """Short, irreversible name of the API key that was used."""
    stream: bool = False
    status: int = 0
    outcome: Outcome | None = None
    error: str = ""
    duration_s: float = 0.0
    ttft_s: float | None = None
    """Time to first token: request received -> first content byte handed to the client's socket."""
    tpot_s: float | None = None
    """Time per output token after the first: (last - first) / (output_tokens - 1)."""
    itl_count: int = 0
    itl_sum_s: float = 0.0
    itl_max_s: float = 0.0
    events: int = 0
    """Stream events relayed."""
    input_tokens: int = 0
    output_tokens: int = 0
    cached_tokens: int = 0
    reasoning_tokens: int = 0
    tokens_source: TokenSource = TokenSource.NONE
    bytes_in: int = 0
    bytes_out: int = 0
    attempts: list[Attempt] = []
    queue_s: float = 0.0
    """Waited in the gateway's queue before the first attempt."""
    prefill: PrefillLeg | None = None
    """The first of two legs, where the request had two."""
