"""What a limit says: how much of what, in which span, for whom."""

from enum import StrEnum

import msgspec


class Measure(StrEnum):
    """What is counted."""

    REQUESTS = "requests"
    INPUT_TOKENS = "input_tokens"
    OUTPUT_TOKENS = "output_tokens"
    TOTAL_TOKENS = "total_tokens"
    SPEND = "spend"
    """Nano-units of money (10^-9 of the price book's currency): prices per token are small, and sums must be exact."""
    CONCURRENT_REQUESTS = "concurrent_requests"
    """Held while a request runs, whatever the span."""
    IN_FLIGHT_TOKENS = "in_flight_tokens"
    """As above: input and output tokens of the requests that run."""

    @property
    def held(self) -> bool:
        """Whether it is held by running requests, and not used up."""
        return self in (Measure.CONCURRENT_REQUESTS, Measure.IN_FLIGHT_TOKENS)


class Level(StrEnum):
    """Whose use is added up under one limit."""

    ALL = "all"
    ORG = "org"
    TEAM = "team"
    KEY = "key"


class Span(StrEnum):
    """Calendar spans, in UTC, for budgets. Sliding windows have a length in seconds instead."""

    DAY = "day"
    MONTH = "month"


class Rule(msgspec.Struct, frozen=True, omit_defaults=True):
    """One limit. Exactly one of `window_s` and `span` is set, and neither for what is held."""

    name: str
    """Unique in the config, or among the rules of one subject."""
    measure: Measure
    limit: int
    """At most this much at any time in any window; 0 lets nothing through."""
    level: Level = Level.KEY
    window_s: float = 0.0
    """A window that slides, in seconds."""
    span: Span | None = None
    models: tuple[str, ...] = ()
    """Counts only requests of these models, all of them together; empty: every model."""
    each_model: bool = False
    """Every model has a count of its own."""
    shadow: bool = False
    """Counted and reported, never enforced."""
    fail_open: bool = False
    """What happens when the store cannot say: let the request through, or (the default) refuse it."""
