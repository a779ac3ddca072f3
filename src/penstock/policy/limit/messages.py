"""What workers and their supervisor tell each other of shares. Times are monotonic seconds of the machine's clock."""

import msgspec

from penstock.policy.limit.bucket import Bucket


class Want(msgspec.Struct, frozen=True, array_like=True):
    """A worker's report of one bucket. Each is answered by one Grant."""

    bucket: Bucket
    spent: int = 0
    """Since the last report."""
    back: int = 0
    """Given back, or lost as its time was up; below zero for a held measure: taken without having been granted."""
    refunds: tuple[tuple[float, int], ...] = ()
    """(time, amount): reserved then or a little later, and not used after all."""
    least: int = 0
    """The smallest reservation that waits."""
    need: int = 0
    """All reservations that wait."""
    want: int = 0
    """On top, for those to come."""


class Wants(msgspec.Struct, frozen=True, tag=True):
    """Worker -> supervisor."""

    number: int
    wants: tuple[Want, ...]


class Grant(msgspec.Struct, frozen=True, array_like=True):
    """The answer to a Want."""

    bucket: str
    number: int
    """Of the Wants that it answers."""
    amount: int
    until: float
    """What the worker has of this bucket may be spent until then."""
    fair: int = 0
    """What it may keep unspent."""
    used: int = 0
    """In use by all, as the store last said."""
    short: int = 0
    """The smallest amount that there is no room for; 0: all was granted that was needed."""
    refill_s: float = 0.0
    """When `short` fits at the latest; below zero: not known."""
    reset_s: float = 0.0
    """When all that is used now counts no more."""
    away: bool = False
    """The store cannot say."""


class Grants(msgspec.Struct, frozen=True, tag=True):
    """Supervisor -> worker."""

    grants: tuple[Grant, ...]
