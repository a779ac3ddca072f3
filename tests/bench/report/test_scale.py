"""Axes: laws of ranges and ticks."""

from math import floor, isclose, log10

from hypothesis import given
from hypothesis import strategies as st

from penstock.bench.report.scale import linear, logarithmic, wide
from penstock.bench.report.units import plain

VALUES = st.lists(st.floats(-1e9, 1e9).map(lambda value: round(value, 6)), min_size=1, max_size=20)
ABOVE = st.lists(st.floats(1e-6, 1e6), min_size=1, max_size=20)


@given(VALUES, st.integers(2, 8), st.booleans(), st.booleans())
def test_a_linear_axis_holds_its_values_and_ends_within_a_tick_of_them(
    values: list[float], count: int, zero: bool, tight: bool
) -> None:
    scale = linear(values, count=count, zero=zero, tight=tight)
    low, high = min(values), max(values)
    assert scale.low <= low <= high <= scale.high
    assert all(0 <= scale.part(value) <= 1 for value in values)
    assert all(scale.low <= tick <= scale.high for tick in scale.ticks)
    assert 2 <= len(scale.ticks) <= 2 * count + 2
    steps = [b - a for a, b in zip(scale.ticks, scale.ticks[1:], strict=False)]
    step = steps[0]
    assert all(isclose(each, step, rel_tol=1e-3) for each in steps)
    if high > low + 1e-6 * abs(high):
        low, high = (min(0.0, low), max(0.0, high)) if zero else (low, high)
        assert low - scale.low <= step * 1.001
        assert scale.high - high <= step * 1.001
        if tight:
            assert (scale.low, scale.high) == (low, high)
    if zero:
        assert scale.holds(0.0)


@given(VALUES)
def test_linear_steps_are_one_two_or_five(values: list[float]) -> None:
    ticks = linear(values).ticks
    step = ticks[1] - ticks[0]
    assert f"{step:.3e}"[0] in "125" or isclose(float(f"{step:.1e}"[:3]), 10)


@given(ABOVE)
def test_a_logarithmic_axis_ends_where_its_values_end(values: list[float]) -> None:
    scale = logarithmic(values)
    low, high = min(values), max(values)
    assert scale.low <= low <= high <= scale.high
    if high > low * 1.001:
        assert (scale.low, scale.high) == (low, high)
    assert 2 <= len(scale.ticks) <= 8
    assert list(scale.ticks) == sorted(set(scale.ticks))
    assert all(scale.low <= tick <= scale.high for tick in scale.ticks)
    assert all(-1e-9 <= scale.part(value) <= 1 + 1e-9 for value in values)


@given(ABOVE.filter(lambda values: max(values) / min(values) > 20))
def test_logarithmic_ticks_are_round(values: list[float]) -> None:
    for tick in logarithmic(values).ticks:
        digit = tick / 10 ** floor(log10(tick) + 1e-9)
        assert any(isclose(digit, each, rel_tol=1e-6) for each in (1, 1.5, 2, 3, 5, 7))


@given(st.lists(st.floats(0.001, 1000), min_size=2, max_size=8))
def test_ticks_that_differ_are_written_differently(values: list[float]) -> None:
    ticks = linear(values).ticks
    assert len({plain(tick) for tick in ticks}) == len(ticks) or max(values) - min(values) < 1e-3 * max(values)


def test_values_thirty_times_apart_are_wide() -> None:
    assert wide([0.1, 3.1])
    assert not wide([0.1, 2.9])
    assert not wide([0.0, 5.0])
    assert not wide([])
