"""Slices: each moment lies in one, and each counts for at least its window."""

import datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.core.limit import Span
from penstock.policy.limit.bucket import Bucket
from penstock.policy.limit.window import first_slice, leaves_us, refill_us, slice_of, slice_us

MOMENTS = st.integers(0, 4_000_000_000_000_000)
WINDOWS = st.integers(1_000_000, 31 * 86_400_000_000)


@given(window=WINDOWS, at=MOMENTS)
def test_a_window_never_counts_too_short_and_at_most_a_slice_too_long(window: int, at: int) -> None:
    bucket = Bucket("b", 1, window)
    number = slice_of(bucket, at)
    leaves = leaves_us(bucket, number)
    assert at + window < leaves <= at + window + slice_us(window)
    assert slice_us(window) <= window / 120
    assert first_slice(bucket, leaves - 1) <= number < first_slice(bucket, leaves)


@given(span=st.sampled_from(Span), at=MOMENTS)
def test_spans_are_those_of_the_calendar(span: Span, at: int) -> None:
    bucket = Bucket("b", 1, 0, span)
    date = datetime.datetime(1970, 1, 1) + datetime.timedelta(microseconds=at)  # noqa: DTZ001
    number = slice_of(bucket, at)
    leaves = leaves_us(bucket, number)
    assert first_slice(bucket, at) == number
    assert slice_of(bucket, leaves - 1) == number
    assert slice_of(bucket, leaves) == number + 1
    start = date.replace(hour=0, minute=0, second=0, microsecond=0)
    start = start.replace(day=1) if span is Span.MONTH else start
    began = round((start - datetime.datetime(1970, 1, 1)) / datetime.timedelta(microseconds=1))  # noqa: DTZ001
    assert slice_of(bucket, began) == number
    assert slice_of(bucket, began - 1) == number - 1 or began == 0


def test_a_refill_is_known_when_slices_that_leave_make_room() -> None:
    bucket = Bucket("b", 100, 60_000_000)
    used = {40: 10, 100: 20}
    now = 30_000_000
    assert refill_us(bucket, used, 10, now) == 41 * 250_000 + 60_000_000 - now
    assert refill_us(bucket, used, 11, now) == 101 * 250_000 + 60_000_000 - now
    assert refill_us(bucket, used, 31, now) is None


@pytest.mark.parametrize("window", [1_000_000, 1_000_001])
def test_the_shortest_windows_have_their_slices_too(window: int) -> None:
    assert slice_us(window) * 240 >= window
