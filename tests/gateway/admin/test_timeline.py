"""Laws of the timeline: nothing is lost, nothing is invented, quantiles stay inside the data."""

import bisect
from dataclasses import replace
from itertools import accumulate
from math import floor

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.gateway.admin.state import Buckets, Totals
from penstock.gateway.admin.timeline import Timeline, grown, merged, quantile

BOUNDS = (0.1, 0.2, 0.5, 1.0)
ZERO = Totals(0, 0, 0, 0, 0, 0, 0, Buckets(BOUNDS, (0,) * 5), Buckets(BOUNDS, (0,) * 5))

steps = st.lists(
    st.tuples(st.floats(0.01, 4.0), st.integers(0, 50), st.lists(st.integers(0, 9), min_size=5, max_size=5)),
    min_size=1,
    max_size=60,
)


def advance(totals: Totals, requests: int, ttft: list[int]) -> Totals:
    counts = tuple(a + b for a, b in zip(totals.ttft.counts, ttft, strict=True))
    return replace(
        totals,
        requests=totals.requests + requests,
        events=totals.events + 7 * requests,
        ttft=Buckets(BOUNDS, counts),
    )


@given(steps, st.floats(0, 1e6))
def test_points_add_up_to_the_growth_they_cover(walk, start):
    timeline = Timeline(span=1000)
    now, totals = start, ZERO
    timeline.observe(now, totals)
    at = {now: totals}
    for dt, requests, ttft in walk:
        now += dt
        totals = advance(totals, requests, ttft)
        at[now] = totals
        timeline.observe(now, totals)
    points = timeline.points()
    if not points:
        return
    covered = at[points[-1].t]
    assert sum(p.requests_s * p.seconds for p in points) == pytest.approx(covered.requests)
    assert sum(p.tokens_s * p.seconds for p in points) == pytest.approx(covered.events)
    assert sum(p.seconds for p in points) == pytest.approx(points[-1].t - start)


@given(steps)
def test_one_point_per_second_in_order_within_the_span(walk):
    timeline = Timeline(span=20)
    now, totals = 0.0, ZERO
    for dt, requests, ttft in walk:
        now += dt
        totals = advance(totals, requests, ttft)
        timeline.observe(now, totals)
    points = timeline.points()
    seconds = [floor(p.t) for p in points]
    assert seconds == sorted(set(seconds))
    assert len(points) <= 20
    assert all(now - p.t < 20 + 4 for p in points)
    assert all(p.seconds >= 0.5 for p in points)


@given(st.lists(st.integers(0, 40), min_size=5, max_size=5), st.floats(0, 1))
def test_quantile_lies_in_the_bucket_of_its_rank(counts, q):
    value = quantile(Buckets(BOUNDS, tuple(counts)), q)
    total = sum(counts)
    if total == 0:
        assert value is None
        return
    running = list(accumulate(counts))
    bucket = next(i for i, (c, r) in enumerate(zip(counts, running, strict=True)) if c and r >= q * total)
    low, high = (0.0, *BOUNDS, BOUNDS[-1])[bucket : bucket + 2]
    assert low - 1e-12 <= value <= high + 1e-12


@given(st.lists(st.integers(0, 40), min_size=5, max_size=5).filter(any), st.floats(0, 1), st.floats(0, 1))
def test_quantile_never_falls_as_q_rises(counts, a, b):
    buckets = Buckets(BOUNDS, tuple(counts))
    assert quantile(buckets, min(a, b)) <= quantile(buckets, max(a, b)) + 1e-12


@given(st.lists(st.floats(0.001, 0.999), min_size=1, max_size=200), st.sampled_from([0.5, 0.95]))
def test_quantile_is_within_one_bucket_of_the_exact_one(values, q):
    counts = [0] * 5
    for value in values:
        counts[bisect.bisect_left(BOUNDS, value)] += 1
    exact = sorted(values)[max(0, -(-round(q * len(values) * 1000) // 1000) - 1)]
    place = bisect.bisect_left(BOUNDS, exact)
    low, high = (0.0, *BOUNDS)[place], BOUNDS[place]
    assert low - 1e-12 <= quantile(Buckets(BOUNDS, tuple(counts)), q) <= high + 1e-12


def test_quantile_known_values():
    assert quantile(Buckets((1.0, 2.0), (10, 10, 0)), 0.5) == 1.0
    assert quantile(Buckets((1.0, 2.0), (10, 10, 0)), 0.75) == 1.5
    assert quantile(Buckets((1.0, 2.0), (0, 4, 0)), 0.5) == 1.5
    assert quantile(Buckets((1.0, 2.0), (0, 0, 3)), 0.5) == 2.0
    assert quantile(Buckets((), (3,)), 0.5) is None


def test_a_counter_that_goes_back_leaves_a_gap_not_a_lie():
    timeline = Timeline()
    full = advance(ZERO, 100, [9, 9, 9, 9, 9])
    timeline.observe(0.0, full)
    timeline.observe(1.0, advance(ZERO, 1, [1, 0, 0, 0, 0]))
    timeline.observe(2.0, advance(ZERO, 5, [1, 0, 0, 0, 0]))
    gap, after = timeline.points()
    assert gap.requests_s is None
    assert gap.ttft_p50_s is None
    assert after.requests_s == 4.0
    assert timeline.recent().requests_s == 4.0


def test_changed_bounds_are_a_gap():
    other = replace(ZERO, itl=Buckets((1.0,), (0, 0)))
    assert grown(ZERO, other) is None


def test_a_clock_set_back_starts_over():
    timeline = Timeline()
    timeline.observe(100.0, ZERO)
    timeline.observe(101.0, ZERO)
    timeline.observe(50.0, ZERO)
    assert timeline.points() == []
    timeline.observe(51.0, advance(ZERO, 2, [0] * 5))
    assert [p.requests_s for p in timeline.points()] == [2.0]


def test_recent_smooths_rates_and_gathers_quantiles():
    timeline = Timeline()
    totals = ZERO
    timeline.observe(0.0, totals)
    for second in range(1, 61):
        # One slow request early on, then silence, then one request per second.
        totals = advance(totals, 1 if second == 5 or second > 50 else 0, [0, 0, 0, int(second == 5), 0])
        timeline.observe(float(second), totals)
    recent = timeline.recent()
    assert recent.requests_s == pytest.approx(1.0)
    assert recent.tokens_s == pytest.approx(7.0)
    assert recent.ttft_p50_s == pytest.approx(0.75)
    assert recent.itl_p50_s is None
    assert timeline.points()[-1].ttft_p50_s is None


def test_nothing_observed_is_nothing_known():
    assert Timeline().recent().requests_s is None
    assert merged([]) == Buckets((), (0,))


def test_buckets_refuse_a_wrong_shape():
    with pytest.raises(ValueError, match="2 bounds need 3 counts, not 2"):
        Buckets((1.0, 2.0), (0, 0))
