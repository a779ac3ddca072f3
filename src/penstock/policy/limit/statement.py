"""What a holder tells the store of its buckets, and what it is told. One batch per exchange.

Holders say what *is*, not what has changed: the amount they hold. So an answer that was lost is put right by the next
exchange. What has been spent is a change, and carries the number of the exchange that first told it: the store takes it
once, however often it is sent. A statement that arrives after a later one is void.
"""

import msgspec

from penstock.policy.limit.bucket import Bucket


class Statement(msgspec.Struct, frozen=True, array_like=True):
    """One bucket, as its holder sees it."""

    bucket: Bucket
    amount: int
    """Held now and not told as spent: what may still be spent, or for a held measure what is in use."""
    spent: int = 0
    """Spent since the last exchange that was answered, and what was spent beyond what was held."""
    refunds: tuple[tuple[int, int], ...] = ()
    """(store's time, amount): of what was spent then or a little later, so much was not used."""
    since: int = 0
    """Number of the exchange that told `spent` and `refunds` first."""
    least: int = 0
    """The smallest part of `need` that is of use."""
    need: int = 0
    """Wanted at once: requests wait for it."""
    want: int = 0
    """Wanted on top, so that the next requests need not wait; given from what is plentiful."""


class Batch(msgspec.Struct, frozen=True):
    """One exchange."""

    holder: str
    """Random per process start: the statements of a holder are numbered."""
    number: int
    lease_us: int
    """What is held is held so long after this exchange."""
    statements: tuple[Statement, ...]


class Answer(msgspec.Struct, frozen=True):
    """What the store says of one bucket."""

    granted: int
    used: int
    """In use now: spent in the window, and held by anyone."""
    fair: int
    """So much on top may one holder keep unspent without starving others."""
    slices: dict[int, int] = {}
    """Spent by slice; only when `need` was not granted in full."""


class Answers(msgspec.Struct, frozen=True):
    """The answers to a batch, in its order."""

    now_us: int
    """The store's clock."""
    answers: tuple[Answer, ...]
