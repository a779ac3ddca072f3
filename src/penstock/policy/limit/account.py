"""The account of one bucket in a store. This is the meaning; the scripts of Redis and PostgreSQL say the same.

What a holder has counts in full until the end of its lease, and after it as if it had been spent at that moment: the
holder may have crashed after spending it. Held measures are simply free again then.
"""

import msgspec

from penstock.policy.limit.bucket import Bucket
from penstock.policy.limit.statement import Answer, Batch, Statement
from penstock.policy.limit.window import first_slice, leaves_us, slice_of

FORGOTTEN_US = 600_000_000
"""So long after its lease a holder may say what it has really spent; then what it had is spent for good."""


class Holding(msgspec.Struct, array_like=True):
    """What one holder has."""

    amount: int = 0
    expires_us: int = 0
    number: int = 0
    """Of its last exchange."""


class Account(msgspec.Struct, array_like=True):
    """Spent by slice, and held by holder."""

    seen_us: int = 0
    """The store's time never runs back for a bucket."""
    spent: dict[int, int] = {}
    holdings: dict[str, Holding] = {}

    def exchange(self, batch: Batch, statement: Statement, now_us: int) -> Answer:
        """Takes in one statement and grants what there is room for."""
        bucket = statement.bucket
        now_us = self.seen_us = max(self.seen_us, now_us)
        self._expire(bucket, now_us)
        holding = self.holdings.setdefault(batch.holder, Holding())
        if batch.number <= holding.number:
            return Answer(0, self._used(), 0)
        if statement.since > holding.number and not bucket.held:
            self._book(statement, now_us)
        holding.amount, holding.number = statement.amount, batch.number
        holding.expires_us = now_us + batch.lease_us
        room = max(0, bucket.limit - self._used())
        granted = min(statement.need, room) if room >= statement.least else 0
        # Half of what is left may be kept unspent, by all holders together.
        keepers = 2 * sum(each.expires_us > now_us for each in self.holdings.values())
        granted += min(statement.want, (room - granted) // keepers)
        holding.amount += granted
        slices = self.spent.copy() if granted < statement.need else {}
        return Answer(granted, self._used(), (room - granted) // keepers, slices)

    def ends_us(self, bucket: Bucket) -> int:
        """When nothing of it counts any more."""
        expiries = [holding.expires_us for holding in self.holdings.values()]
        if bucket.held:
            return max(expiries, default=0)
        numbers = [*self.spent, *(slice_of(bucket, at_us) for at_us in expiries)]
        return leaves_us(bucket, max(numbers)) if numbers else 0

    def _used(self) -> int:
        return sum(self.spent.values()) + sum(holding.amount for holding in self.holdings.values())

    def _expire(self, bucket: Bucket, now_us: int) -> None:
        expired = [(name, each) for name, each in self.holdings.items() if each.expires_us <= now_us]
        if bucket.held:
            for name, _ in expired:
                del self.holdings[name]
            return
        spent, first = self.spent, first_slice(bucket, now_us)
        for name, holding in expired:
            number = slice_of(bucket, holding.expires_us)
            if number >= first and holding.expires_us + FORGOTTEN_US > now_us:
                continue
            if holding.amount:
                spent[number] = spent.get(number, 0) + holding.amount
            del self.holdings[name]
        for number in [number for number in spent if number < first]:
            del spent[number]

    def _book(self, statement: Statement, now_us: int) -> None:
        bucket, spent = statement.bucket, self.spent
        latest, first = slice_of(bucket, now_us), first_slice(bucket, now_us)
        if statement.spent:
            spent[latest] = spent.get(latest, 0) + statement.spent
        for at_us, amount in statement.refunds:
            # It was booked in this slice or a later one. When this slice has left, what was booked is about to.
            number = slice_of(bucket, at_us)
            if number < first:
                continue
            for each in sorted(each for each in spent if each >= number):
                taken = min(amount, spent[each])
                amount -= taken
                if taken == spent[each]:
                    del spent[each]
                else:
                    spent[each] -= taken
                if not amount:
                    break
