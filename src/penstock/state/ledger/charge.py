"""An entry with its price: what the store keeps of a request."""

from datetime import UTC, datetime

import msgspec

from penstock.core.record import TokenSource, Usage
from penstock.policy.price.book import Book
from penstock.policy.price.cost import MILLION, Cost, price_of
from penstock.state.ledger.entries import INTERRUPTED, SERVED, Closed

LARGEST = 2**53
"""No count is larger; an engine that reports more reports nonsense."""


class Charge(msgspec.Struct, frozen=True):
    """One request in the ledger. The fields are the columns of the store."""

    writer: str
    """Process that answered it; with `number` it names the charge."""
    number: int
    request_id: str
    received_us: int
    """Microseconds since the epoch."""
    org: str
    team: str
    key: str
    model: str
    engine: str
    outcome: str
    status: int
    stream: int
    """1 for a streamed answer."""
    source: str
    """Where the token counts come from; `none`: they are unknown."""
    input: int
    cached: int
    output: int
    reasoning: int
    duration_us: int
    cost: int
    """Nano-units of `currency`."""
    currency: str
    rate: str
    """Id of the model's rate; empty when the price book had none."""
    engine_rate: str
    """Id of the engine's rate; empty when it has none."""
    version: str
    """Of the price book."""


COLUMNS = Charge.__struct_fields__


def charge_of(entry: Closed, writer: str, book: Book) -> Charge:
    """Prices an entry. Its numbers are bounded and its text is such that every store takes it."""
    usage = _bounded(Usage(entry.input, entry.output, entry.cached, entry.reasoning))
    duration_us = _count(round(max(0.0, min(entry.duration_s, 1e9)) * MILLION))
    served = bool(entry.engine) and entry.outcome in SERVED
    model, engine = _text(entry.model), _text(entry.engine)
    cost = price_of(book, model, engine, usage, duration_us / MILLION, entry.received, served=served)
    rate, engine_rate = rates_of(cost, book)
    return Charge(
        writer,
        entry.number,
        _text(entry.request_id),
        _count(round(max(0.0, min(entry.received, 1e9 * 9)) * MILLION)),
        _text(entry.org),
        _text(entry.team),
        _text(entry.key),
        model,
        engine,
        _text(entry.outcome),
        _count(entry.status),
        int(entry.stream),
        _text(entry.source),
        usage.input_tokens,
        usage.cached_tokens,
        usage.output_tokens,
        usage.reasoning_tokens,
        duration_us,
        cost.nano,
        book.currency,
        rate,
        engine_rate,
        book.version,
    )


def settled(charge: Charge, usage: Usage, source: str, book: Book) -> Charge:
    """An interrupted request whose tokens have become known, priced as if it had been closed then."""
    usage = _bounded(usage)
    cost = price_of(book, charge.model, charge.engine, usage, 0.0, charge.received_us / MILLION, served=False)
    rate, engine_rate = rates_of(cost, book)
    return msgspec.structs.replace(
        charge,
        source=source,
        input=usage.input_tokens,
        cached=usage.cached_tokens,
        output=usage.output_tokens,
        reasoning=usage.reasoning_tokens,
        cost=cost.nano,
        currency=book.currency,
        rate=rate,
        engine_rate=engine_rate,
        version=book.version,
    )


def rates_of(cost: Cost, book: Book) -> tuple[str, str]:
    """Ids of the model's and the engine's rate; empty for none."""
    return (
        "" if cost.rate is None else book.ids[cost.rate],
        "" if cost.engine_rate is None else book.ids[cost.engine_rate],
    )


def unknown(charge: Charge) -> bool:
    """Whether it is an interrupted request whose tokens nobody has told yet."""
    return charge.outcome == INTERRUPTED and charge.source == TokenSource.NONE


def day_of(number: int) -> str:
    """A count of days since the epoch as a date."""
    return datetime.fromtimestamp(number * 86_400, UTC).date().isoformat()


def _bounded(usage: Usage) -> Usage:
    """Counts that a store holds, and no part larger than its whole."""
    given, made = _count(usage.input_tokens), _count(usage.output_tokens)
    return Usage(given, made, min(_count(usage.cached_tokens), given), min(_count(usage.reasoning_tokens), made))


def _count(value: int) -> int:
    return max(0, min(value, LARGEST))


def _text(value: str) -> str:
    """PostgreSQL stores no NUL, and clients choose some of these names."""
    return value.replace("\0", "\ufffd") if "\0" in value else value
