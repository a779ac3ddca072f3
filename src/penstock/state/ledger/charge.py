"""An entry with its price: what the store keeps of a request."""

from datetime import UTC, datetime

import msgspec

from penstock.core.record import TokenSource, Usage
from penstock.policy.price.book import Book
from penstock.policy.price.cost import MILLION, Cost, price_of
from penstock.state.ledger.entries import INTERRUPTED, SERVED, UNTOLD, Closed

LARGEST = 2**53
"""No count is larger; an engine that reports more reports nonsense."""

LONGEST_S = 1e9
LATEST = 9e9
"""Seconds since the epoch, in the year 2255."""
NUL = "\0"


class Charge(msgspec.Struct, frozen=True, gc=False):
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
    """Prices an entry. What no store could hold, or no engine can mean, is brought into bounds first."""
    if not _sound(entry):
        entry = _cleaned(entry)
    usage = Usage(entry.input, entry.output, entry.cached, entry.reasoning)
    served = bool(entry.engine) and entry.outcome in SERVED
    cost = price_of(book, entry.model, entry.engine, usage, entry.duration_s, entry.received, served=served)
    rate, engine_rate = rates_of(cost, book)
    return Charge(
        writer,
        entry.number,
        entry.request_id,
        round(entry.received * MILLION),
        entry.org,
        entry.team,
        entry.key,
        entry.model,
        entry.engine,
        entry.outcome,
        entry.status,
        int(entry.stream),
        entry.source,
        entry.input,
        entry.cached,
        entry.output,
        entry.reasoning,
        round(entry.duration_s * MILLION),
        cost.nano,
        book.currency,
        rate,
        engine_rate,
        book.version,
    )


def settled(charge: Charge, usage: Usage, source: str, book: Book) -> Charge:
    """An untold request whose tokens have become known, priced as if it had been closed with them. An interrupted one
    pays for its tokens alone: nobody knows how long it took."""
    usage = _bounded(usage)
    duration_s, received = charge.duration_us / MILLION, charge.received_us / MILLION
    served = charge.outcome in SERVED
    cost = price_of(book, charge.model, charge.engine, usage, duration_s, received, served=served)
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


def untold(charge: Charge) -> bool:
    """Whether an engine was asked and told the gateway no usage: its worker died, its client left, or it never does."""
    return bool(charge.engine) and charge.source in UNTOLD


def day_of(number: int) -> str:
    """A count of days since the epoch as a date."""
    return datetime.fromtimestamp(number * 86_400, UTC).date().isoformat()


def _sound(entry: Closed) -> bool:
    """Whether an entry can be stored as it is. Nearly every one can, and this is cheaper than cleaning it."""
    return (
        0 <= entry.cached <= entry.input <= LARGEST
        and 0 <= entry.reasoning <= entry.output <= LARGEST
        and 0.0 <= entry.duration_s <= LONGEST_S
        and 0.0 <= entry.received <= LATEST
        and 0 <= entry.status <= LARGEST
        and NUL not in entry.request_id
        and NUL not in entry.model
        and NUL not in entry.engine + entry.org + entry.team + entry.key
        and NUL not in entry.outcome + entry.source
    )


def _cleaned(entry: Closed) -> Closed:
    usage = _bounded(Usage(entry.input, entry.output, entry.cached, entry.reasoning))
    return msgspec.structs.replace(
        entry,
        **{name: text(value) for name in entry.__struct_fields__ if type(value := getattr(entry, name)) is str},
        input=usage.input_tokens,
        cached=usage.cached_tokens,
        output=usage.output_tokens,
        reasoning=usage.reasoning_tokens,
        # In this order what is not a number becomes 0.
        duration_s=min(LONGEST_S, max(0.0, entry.duration_s)),
        received=min(LATEST, max(0.0, entry.received)),
        status=_count(entry.status),
    )


def text(value: str) -> str:
    """PostgreSQL stores no NUL, and clients choose some of the names."""
    return value.replace(NUL, "\ufffd")


def _bounded(usage: Usage) -> Usage:
    """Counts that a store holds, and no part larger than its whole."""
    given, made = _count(usage.input_tokens), _count(usage.output_tokens)
    return Usage(given, made, min(_count(usage.cached_tokens), given), min(_count(usage.reasoning_tokens), made))


def _count(value: int) -> int:
    return max(0, min(value, LARGEST))
