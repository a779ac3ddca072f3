"""What one request costs. Whole numbers only; each part is rounded once, half to even, to a nano-unit.

    input      (input_tokens - cached_tokens) * input / 10^6
    cached     cached_tokens * cached / 10^6
    output     (output_tokens - reasoning_tokens) * output / 10^6
    reasoning  reasoning_tokens * reasoning / 10^6
    request    request, for a request that was served
    engine     hour * duration / slots, or hour * (input_tokens - cached_tokens + output_tokens) / tokens_per_hour

A price in steps of 0.001 per million tokens is a whole number of nano-units per token, and nothing is rounded.
"""

import msgspec

from penstock.core.record import Usage
from penstock.policy.price.book import Book, EngineRate, Rate

MILLION = 1_000_000
HOUR_US = 3_600 * MILLION
"""Microseconds."""


class Cost(msgspec.Struct, frozen=True, gc=False):
    """Nano-units of the book's currency, by part, and the rates they come from."""

    input: int = 0
    cached: int = 0
    output: int = 0
    reasoning: int = 0
    request: int = 0
    engine: int = 0
    rate: Rate | None = None
    engine_rate: EngineRate | None = None
    version: str = ""
    """Of the book."""

    @property
    def nano(self) -> int:
        """All parts together."""
        return self.input + self.cached + self.output + self.reasoning + self.request + self.engine

    @property
    def unpriced(self) -> bool:
        """Whether the book knows neither the model nor the engine: that it costs nothing is then no statement."""
        return self.rate is None and self.engine_rate is None


def price_of(
    book: Book, model: str, engine: str, usage: Usage, duration_s: float, at: float, *, served: bool = True
) -> Cost:
    """The cost of a request received at `at`, seconds since the epoch, that kept `engine` for `duration_s`.

    Without `served` it pays for its tokens alone. Cached tokens are a part of the input, reasoning of the output, as
    engines report them; a part that exceeds its whole is cut to it.
    """
    rate = book.models.find(model, at)
    engine_rate = book.engines.find(engine, at) if engine else None
    cached = min(usage.cached_tokens, usage.input_tokens)
    reasoning = min(usage.reasoning_tokens, usage.output_tokens)
    computed, answered = usage.input_tokens - cached, usage.output_tokens - reasoning
    time = 0
    if engine_rate is not None:
        if engine_rate.tokens_per_hour:
            time = rounded(engine_rate.hour * (computed + usage.output_tokens), engine_rate.tokens_per_hour)
        elif served:
            time = rounded(engine_rate.hour * round(duration_s * MILLION), HOUR_US * engine_rate.slots)
    if rate is None:
        return Cost(engine=time, engine_rate=engine_rate, version=book.version)
    return Cost(
        rounded(computed * rate.input, MILLION),
        rounded(cached * rate.cached, MILLION),
        rounded(answered * rate.output, MILLION),
        rounded(reasoning * rate.reasoning, MILLION),
        rate.request if served else 0,
        time,
        rate,
        engine_rate,
        book.version,
    )


def most(book: Book, model: str, input_tokens: int, output_tokens: int, at: float) -> int:
    """Nano-units that a request's tokens cost at most, for reserving spend ahead. 0 for an unpriced model.

    Engine time is not in it: neither engine nor duration is known ahead.
    """
    rate = book.models.find(model, at)
    if rate is None:
        return 0
    tokens = input_tokens * max(rate.input, rate.cached) + output_tokens * max(rate.output, rate.reasoning)
    # Each of the four parts may be rounded up by less than one.
    return tokens // MILLION + 4 + rate.request if tokens % MILLION else tokens // MILLION + rate.request


def rounded(numerator: int, denominator: int) -> int:
    """The quotient of whole numbers, half to even."""
    whole, rest = divmod(numerator, denominator)
    twice = 2 * rest
    return whole + (twice > denominator or (twice == denominator and whole % 2 == 1))
