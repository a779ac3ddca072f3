"""What a replica holds of one bucket, and how it is divided among its workers."""

from collections.abc import Iterator
from math import inf

import msgspec

from penstock.policy.limit.bucket import Bucket
from penstock.policy.limit.messages import Grant, Want
from penstock.policy.limit.statement import Answer, Statement
from penstock.policy.limit.window import leaves_us, refill_us, slice_of

DRIFT = 0.001
"""Two clocks that measure the same time may differ by this part of it."""


class Ask(msgspec.Struct, frozen=True):
    """What a worker waits for."""

    worker: int
    number: int
    """Of its report."""
    least: int
    need: int
    want: int


class Told(msgspec.Struct, frozen=True):
    """What was spent, as it is told the store until it answers: always with the same number."""

    since: int
    spent: int
    refunds: tuple[tuple[int, int], ...]


class Pool:
    """Times are monotonic seconds."""

    def __init__(self, bucket: Bucket) -> None:
        self.bucket = bucket
        self.shares: dict[int, int] = {}
        """Worker -> what it has not yet spent; for a held measure, what it has."""
        self.free = 0
        """Held and given to nobody."""
        self.until = -inf
        """End of the lease."""
        self.renewed = -inf
        self.touched = -inf
        self.asks: list[Ask] = []
        self.sent: list[Ask] = []
        """Asks of the exchange under way."""
        self._spent = 0
        self._refunds: dict[float, int] = {}
        self._told: Told | None = None
        self._used = 0
        self._fair = 0
        self._reset_s = 0.0

    @property
    def used(self) -> int:
        """In use by all replicas, as the store last said."""
        return self._used

    @property
    def amount(self) -> int:
        """What is held here and not spent."""
        return self.free + sum(self.shares.values())

    @property
    def idle(self) -> bool:
        """Whether nothing would be lost with it."""
        return not (self.shares or self.free or self.asks or self.sent or self.unsaid)

    @property
    def unsaid(self) -> bool:
        """Whether the store has to be told of spending."""
        return bool(self._spent or self._refunds or self._told)

    def hear(self, worker: int, want: Want, number: int, now: float) -> Ask | None:
        """Takes in a report: what it asks for, or None when it can be answered now.

        A worker's reports of a bucket are answered in their order.
        """
        self.bucket = want.bucket
        self.touched = now
        # A worker may spend more than it had, but not give back more.
        had = max(0, self.shares.get(worker, 0) - want.spent)
        back = min(want.back, had)
        self._set(worker, had - back)
        self.free += max(0, back)
        self._spent += want.spent
        for at, amount in want.refunds:
            self._refunds[at] = self._refunds.get(at, 0) + amount
        if not (want.need or want.want or any(ask.worker == worker for ask in (*self.sent, *self.asks))):
            return None
        return Ask(worker, number, want.least, want.need, want.want)

    def covers(self, ask: Ask, now: float) -> bool:
        """Whether it can be served at once, with nobody before it."""
        return bool(ask.need) and not self.asks and not self.sent and ask.need <= self._usable and now < self.until

    def leave(self, worker: int) -> None:
        """A worker is gone: it may have spent all it had. What it held runs no more."""
        had = self.shares.pop(worker, 0)
        if not self.bucket.held:
            self._spent += had
        self.asks = [ask for ask in self.asks if ask.worker != worker]
        self.sent = [ask for ask in self.sent if ask.worker != worker]

    def statement(self, number: int, now: float, offset_us: int | None) -> Statement:
        """What the store is told and asked in exchange `number`. What is free here goes back.

        `offset_us` leads from monotonic time to the store's: never too high. None: not known yet.
        """
        if self._told is None and (self._spent or self._refunds):
            dated: tuple[tuple[int, int], ...] = ()
            if offset_us is not None:
                # A refund may be dated too early, and never too late.
                early = {at: at - (now - at) * DRIFT for at in self._refunds}
                dated = tuple((int(early[at] * 1e6) + offset_us, amount) for at, amount in self._refunds.items())
            self._told = Told(number, self._spent, dated)
            self._spent, self._refunds = 0, {}
        told = self._told or Told(0, 0, ())
        self.free = 0
        self.sent, self.asks = self.sent + self.asks, []
        least = min((ask.least for ask in self.sent if ask.need), default=0)
        need, want = sum(ask.need for ask in self.sent), sum(ask.want for ask in self.sent)
        # Spent and not told yet: still held, as far as the store knows.
        amount = self.amount + self._spent
        return Statement(self.bucket, amount, told.spent, told.refunds, told.since, least, need, want)

    def answer(self, answer: Answer, now_us: int, began: float, until: float) -> Iterator[tuple[Ask, Grant]]:
        """Divides what the store has granted, first come first served; what is left over follows `want`."""
        bucket, self._told = self.bucket, None
        self.renewed, self.until = began, until
        self._used, self._fair = answer.used, answer.fair
        if not bucket.held:
            self._reset_s = (leaves_us(bucket, slice_of(bucket, now_us)) - now_us) / 1e6
        self.free += answer.granted
        sent, self.sent = self.sent, []
        given = [self._serve(ask) for ask in sent]
        for ask, served in zip(sent, given, strict=True):
            extra = min(ask.want, self._usable)
            self._give(ask.worker, extra)
            short, refill_s = 0, 0.0
            if served < ask.need:
                short, refill_s = self._refill(answer, ask.least if not served else ask.need - served, now_us)
            yield ask, self.grant(ask.number, served + extra, short, refill_s)

    def serve(self, ask: Ask) -> Grant:
        """Serves an ask that is covered."""
        return self.grant(ask.number, self._serve(ask))

    def grant(self, number: int, amount: int = 0, short: int = 0, refill_s: float = 0.0, away: bool = False) -> Grant:
        """What a worker is told."""
        fair = self._fair // max(1, len(self.shares))
        return Grant(self.bucket.id, number, amount, self.until, fair, self._used, short, refill_s, self._reset_s, away)

    @property
    def _usable(self) -> int:
        """What may be given. Nothing while more is used than allowed: the limit was lowered, or others had it."""
        return 0 if self._used > self.bucket.limit else self.free

    def _serve(self, ask: Ask) -> int:
        """Gives what is needed, or as much as is of use."""
        usable = self._usable
        amount = min(ask.need, usable) if usable >= ask.least else 0
        self._give(ask.worker, amount)
        return amount

    def _give(self, worker: int, amount: int) -> None:
        self.free -= amount
        self._set(worker, self.shares.get(worker, 0) + amount)

    def _set(self, worker: int, amount: int) -> None:
        if amount:
            self.shares[worker] = amount
        else:
            self.shares.pop(worker, None)

    def _refill(self, answer: Answer, least: int, now_us: int) -> tuple[int, float]:
        """The amount that does not fit, and when it does at the latest; below zero: not known."""
        bucket = self.bucket
        if bucket.held:
            return least, -1.0
        shortfall = answer.used + least - bucket.limit
        found = refill_us(bucket, answer.slices, shortfall, now_us) if shortfall > 0 else 0
        return least, -1.0 if found is None else found / 1e6
