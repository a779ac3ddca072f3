"""Where charges are kept: what a store can do."""

from collections.abc import Iterator, Sequence
from typing import Protocol, TypeAlias

import msgspec

from penstock.core.errors import PenstockError
from penstock.policy.price.book import Book, EngineRate, Rate
from penstock.state.ledger.charge import Charge
from penstock.state.ledger.entries import Opened
from penstock.state.ledger.follow import Place

Rates: TypeAlias = dict[str, Rate | EngineRate]
"""By id."""


class StoreAway(PenstockError):
    """The store does not answer. Nothing was changed, or nobody can tell; the same call may be made again."""


class Batch(msgspec.Struct):
    """A part of one writer's journal, shipped in one transaction."""

    writer: str
    charges: list[Charge]
    opened: list[Opened]
    """Requests that were opened in this part and not closed in it."""
    closes: list[int]
    """Numbers of requests closed in this part and opened in an earlier one."""
    place: Place
    """How far the writer's journal is shipped with this."""
    over: bool
    """The writer is gone: what it left open was interrupted."""
    book: Book
    """What the charges were priced by."""


class Total(msgspec.Struct, frozen=True):
    """Charges added up."""

    group: tuple[str, ...]
    """Values of what was grouped by, in that order."""
    currency: str
    requests: int
    input: int
    cached: int
    output: int
    reasoning: int
    cost: int
    """Nano-units."""
    unpriced: int
    """Requests with tokens whose model and engine had no price: their cost of 0 says nothing."""
    unknown: int
    """Interrupted requests whose tokens are unknown, and in no sum."""
    counted: int
    """Requests whose engine told no usage: their output tokens are counted stream events."""
    last_us: int
    """When the last of them was received; microseconds since the epoch."""


class Span(msgspec.Struct, frozen=True):
    """Charges of requests received from `since` up to, not including, `until`; microseconds since the epoch."""

    since: int = 0
    until: int = 2**62


class Usage(msgspec.Struct, frozen=True):
    """What one tenant used of one model on one engine in one day, at one price."""

    day: int
    """Days since the epoch, UTC."""
    org: str
    team: str
    key: str
    model: str
    engine: str
    currency: str
    rate: str
    engine_rate: str
    requests: int
    served: int
    """Requests that pay for themselves and for engine time."""
    input: int
    cached: int
    output: int
    reasoning: int
    served_us: int
    """Duration of the served requests."""
    cost: int


GROUPS = ("org", "team", "key", "model", "engine", "day")
"""What totals can be grouped by."""


class Store(Protocol):
    """Blocking calls, one at a time, `open` first; any may raise StoreAway."""

    def open(self) -> None:
        """Connects and makes what is missing. Raises ConfigError for a store that is not ours to use."""

    def abort(self) -> None:
        """From another thread: makes a call that hangs raise StoreAway."""

    def place(self, writer: str) -> Place:
        """How far a writer's journal was shipped."""

    def ship(self, batch: Batch) -> int:
        """Adds a batch, whole or not at all; once shipped, the same batch changes nothing. Returns how many requests
        were found interrupted."""

    def settle(self, charges: Sequence[Charge], book: Book) -> int:
        """Completes requests whose tokens no engine had told; changes no other. Returns how many."""

    def totals(self, by: Sequence[str], span: Span) -> list[Total]:
        """Totals grouped by some of GROUPS, and always by currency."""

    def usage(self, span: Span) -> Iterator[Usage]:
        """What was used, by day, tenant, model, engine and price, in order."""

    def charges(self, span: Span, engine: str = "", request_id: str = "") -> Iterator[Charge]:
        """Single charges in the order they were received; "" is any."""

    def rates(self) -> Rates:
        """Every rate that a charge was priced by."""

    def close(self) -> None: ...
