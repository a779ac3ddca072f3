"""Time in slices: which of them count now, and when each stops to count.

A sliding window of W is made of slices of W / 240. An amount counts from its slice on, until W after the *end* of that
slice: never less than W, at most W and a slice. A calendar span is one slice: a day or a month of UTC.

All times are whole microseconds of the store's clock.
"""

import datetime
from collections.abc import Mapping

from penstock.core.limit import Span
from penstock.policy.limit.bucket import Bucket

SLICES = 240
"""Per window: what has left may be used again 0.2 % of the window later, on average."""
DAY_US = 86_400_000_000
_EPOCH = datetime.datetime(1970, 1, 1, tzinfo=datetime.UTC)


def slice_us(window_us: int) -> int:
    """Length of a slice of a sliding window."""
    return -(-window_us // SLICES)


def slice_of(bucket: Bucket, at_us: int) -> int:
    """Number of the slice that a moment lies in. Months are counted from year 0."""
    if bucket.span is Span.MONTH:
        date = _EPOCH + datetime.timedelta(microseconds=at_us)
        return date.year * 12 + date.month - 1
    if bucket.span is Span.DAY:
        return at_us // DAY_US
    return at_us // slice_us(bucket.window_us)


def first_slice(bucket: Bucket, now_us: int) -> int:
    """The oldest slice that counts."""
    return slice_of(bucket, now_us - bucket.window_us)


def leaves_us(bucket: Bucket, number: int) -> int:
    """When a slice stops to count."""
    if bucket.span is Span.MONTH:
        following = datetime.datetime((number + 1) // 12, (number + 1) % 12 + 1, 1, tzinfo=datetime.UTC)
        return (following - _EPOCH) // datetime.timedelta(microseconds=1)
    if bucket.span is Span.DAY:
        return (number + 1) * DAY_US
    return (number + 1) * slice_us(bucket.window_us) + bucket.window_us


def refill_us(bucket: Bucket, used: Mapping[int, int], shortfall: int, now_us: int) -> int | None:
    """Microseconds until slices that leave have freed `shortfall`; None when they never free so much.

    What is held by others may come back sooner: this is the latest moment, not the only one.
    """
    freed = 0
    for number in sorted(used):
        freed += used[number]
        if freed >= shortfall:
            return max(0, leaves_us(bucket, number) - now_us)
    return None
