"""How a request leaves the queue. Exactly one per offered key."""

from enum import StrEnum

import msgspec


class Outcome(StrEnum):
    """The names are llm-d's (flow control), so that dashboards fit; `RejectedDeadline` is `RejectedOther` there."""

    DISPATCHED = "Dispatched"
    """It starts: at once, or after waiting."""
    REJECTED_CAPACITY = "RejectedCapacity"
    """Never queued: the queue is full of others that matter as much."""
    REJECTED_DEADLINE = "RejectedDeadline"
    """Never queued: it would wait longer than it may."""
    EVICTED_TTL = "EvictedTTL"
    """Queued, and its deadline passed."""
    EVICTED_DISPLACED = "EvictedDisplaced"
    """Queued, and made room for a higher priority, or for a tenant with less."""
    EVICTED_CONTEXT_CANCELLED = "EvictedContextCancelled"
    """Queued, and its client left."""
    EVICTED_OTHER = "EvictedOther"
    """Queued, and the queue was emptied: the gateway stops, or the pool is gone."""


class Admitted(msgspec.Struct, frozen=True):
    """Start it now: there is room and nobody waits."""

    outcome: Outcome = Outcome.DISPATCHED


class Queued(msgspec.Struct, frozen=True):
    """It waits. It leaves through `take`, `expired`, `cancel`, `drain`, or another's `displaced`."""

    position: int
    """Waiters that go first."""
    estimate_s: float | None
    """Seconds it will wait; None while the pool's speed is unknown."""
    displaced: tuple[str, ...] = ()
    """Keys that made room: EVICTED_DISPLACED, to be told now."""


class Rejected(msgspec.Struct, frozen=True):
    """It was not queued and has already left."""

    outcome: Outcome
    reason: str
    """One line for the client."""
    estimate_s: float | None
    """Seconds it would have waited; None while the pool's speed is unknown."""
    retry_after_s: float
    """When it may be worth another try."""
