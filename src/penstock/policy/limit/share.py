"""A worker's share of one bucket: what it may spend without asking, and what it has to report."""

from math import inf

from penstock.core.limit import Measure, Rule
from penstock.policy.limit.bucket import Bucket, Counted
from penstock.policy.limit.messages import Grant, Want
from penstock.policy.limit.refusal import Refused, Standing, Why
from penstock.policy.limit.window import SLICES

AHEAD = 3
"""Report intervals whose demand a share is meant to last: two may be lost before a request has to wait."""
RECHECK_S = 0.1
"""So long "no room" is believed: refunds of others may make room sooner than the window does."""
BELIEF_S = 1.0
"""So long "no room" is believed while the store takes its time to say it again: slow is not away."""
SHRINK = 0.8
"""Part of a held measure that a worker keeps from one report to the next while it does not use it."""


class Share:
    """Amounts are whole numbers of the bucket's measure."""

    __slots__ = (
        "__weakref__",
        "answered",
        "asked",
        "away_until",
        "bucket",
        "dirty",
        "fair",
        "free",
        "full_until",
        "held",
        "interval",
        "kind",
        "least",
        "lost",
        "need",
        "quantum",
        "rate",
        "refill_at",
        "refunds",
        "reported",
        "reset_at",
        "rule",
        "short",
        "short_until",
        "size",
        "taken",
        "until",
        "used",
    )

    def __init__(self, counted: Counted) -> None:
        self.bucket: Bucket = counted.bucket
        self.rule: Rule = counted.rule
        self.kind = KINDS[counted.rule.measure]
        self.held = counted.bucket.held
        self.free = 0
        """May be reserved while `until` lies ahead; below zero: reserved without having been granted."""
        self.until = -inf
        self.taken = 0
        """Reserved since the last report; for a held measure, in use now."""
        self.lost = 0
        """Was not spent in time and not yet reported."""
        self.refunds: dict[int, int] = {}
        """Too much reserved, by when, in multiples of `quantum`."""
        self.quantum = counted.bucket.window_us / SLICES / 1e6 or 1.0
        self.need = 0
        self.least = 0
        self.size = 0
        """What requests last needed: less than that is of no use to keep."""
        self.rate = 0.0
        """Reserved per second, lately."""
        self.fair = 0
        self.interval = _interval_s(counted.bucket)
        self.reported = -inf
        self.asked = 0
        self.answered = 0
        """Numbers of the last report, and of the last one that was answered."""
        self.dirty = False
        self.used = 0
        self.short = 0
        self.short_until = -inf
        self.full_until = -inf
        self.refill_at = -inf
        self.reset_at = -inf
        self.away_until = -inf

    def full(self, amount: int, now: float) -> bool:
        """Whether the store has just said that there is no room for it."""
        return now < self.short_until and amount >= self.short

    def still_full(self, amount: int, now: float) -> bool:
        """Whether it said so a while ago, and has not yet answered again."""
        return now < self.full_until and amount >= self.short

    def refused(self, why: Why, amount: int, now: float) -> Refused:
        refill_s = inf if why is Why.NEVER else self.refill_at - now if self.refill_at > now else -1.0
        return Refused(self.rule, why, amount, self.used, refill_s)

    def standing(self, now: float) -> Standing:
        """As the store last said, less what this worker has and does not use."""
        return Standing(self.rule, max(0, self.used - max(0, self.free)), max(0.0, self.reset_at - now))

    def ask(self, amount: int) -> None:
        """A request waits for so much."""
        self.need += amount
        self.least = min(self.least, amount) if self.least else amount
        self.size = amount

    def settle(self, reserved: int, actual: int, at: float) -> None:
        """What was reserved `at` and what it came to."""
        if self.held:
            self.taken -= reserved
            if self.used > self.bucket.limit:
                # The limit was lowered, or given to others while this replica was away: what ends is not used again.
                self.lost += reserved
            else:
                self.free += reserved
        elif actual > reserved:
            self.taken += actual - reserved
            self.free -= actual - reserved
        else:
            when = int(at // self.quantum)
            self.refunds[when] = self.refunds.get(when, 0) + reserved - actual

    def report(self, number: int, now: float) -> Want:
        """Tells what has happened since the last report, gives back what is not needed, and asks for more."""
        self._lapse(now)
        keep = min(self._demand(now), self.fair)
        if keep < self.size:
            keep = 0
        if self.free >= 0:
            kept = min(self.free, keep)
            back = self.lost + self.free - kept
        else:
            # What was taken without a grant is told as spent; of a held measure, as the opposite of giving back.
            kept = 0
            back = self.lost + (self.free if self.held else 0)
        self.lost = spent = 0
        if not self.held:
            spent, self.taken = self.taken, 0
        self.free = kept
        refunds = tuple((when * self.quantum, amount) for when, amount in self.refunds.items())
        self.refunds.clear()
        need, least = max(0, self.need - kept), max(0, self.least - kept)
        self.need = self.least = 0
        self.reported, self.asked = now, number
        return Want(self.bucket, spent, back, refunds, min(least, need), need, max(0, keep - kept))

    def take(self, grant: Grant, now: float) -> None:
        """Takes in the answer to a report."""
        self._lapse(now)
        self.answered = grant.number
        if grant.away:
            self.away_until = now + RECHECK_S
            self.full_until = -inf
        else:
            self.fair, self.used, self.reset_at = grant.fair, grant.used, now + grant.reset_s
            self.short_until = self.full_until = -inf
        if grant.short:
            # It lacked so much on top of what it has kept.
            self.short = grant.short + max(0, self.free)
            self.short_until = now + RECHECK_S
            self.full_until = now + BELIEF_S
            self.refill_at = now + grant.refill_s if grant.refill_s >= 0 else -inf
        self.free += grant.amount
        self.until = max(self.until, grant.until)

    def _lapse(self, now: float) -> None:
        if self.until <= now and self.free > 0:
            self.lost += self.free
            self.free = 0

    def _demand(self, now: float) -> int:
        """What the next intervals will need, judged by the last ones."""
        if self.held:
            return max(0, int((self.taken + self.free) * SHRINK) - self.taken)
        elapsed = max(self.interval / 2, now - self.reported)
        self.rate = (self.rate + self.taken / elapsed) / 2
        return int(self.rate * AHEAD * self.interval)


def _interval_s(bucket: Bucket) -> float:
    """Between two reports: what is spent is dated when it is reported, so a short window needs more of them."""
    if bucket.held:
        return 0.1
    return min(0.25, max(0.05, bucket.window_us / 400e6)) if bucket.window_us else 1.0


KINDS = {measure: index for index, measure in enumerate(Measure)}
"""Where a measure stands among the amounts of a request: the order of `core.limit.Measure`."""
