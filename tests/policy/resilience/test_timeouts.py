"""Learned limits: between floor and ceiling, exact quantiles, and no fleet that times out for ever."""

from math import ceil, log

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.policy.resilience.quantile import Recent
from penstock.policy.resilience.timeouts import MOST_KINDS, Ceilings, Kind, Timeouts, TimeoutSettings, kind_of

CEILINGS = Ceilings(300.0, 120.0, 3600.0)
KIND = kind_of("m", True, 1000, 0, 0)
VALUES = st.lists(st.floats(0, 1e4), max_size=200)


@given(values=VALUES.filter(bool), size=st.integers(1, 50), q=st.floats(0.01, 0.999))
def test_the_quantile_is_that_of_the_last_values(values: list[float], size: int, q: float) -> None:
    recent = Recent(size)
    for value in values:
        recent.add(value)
    kept = values[-size:]
    found = recent.quantile(q)
    assert len(recent) == len(kept)
    assert found in kept
    assert sum(value <= found for value in kept) >= q * len(kept) - 1e-6
    assert sum(value < found for value in kept) < q * len(kept)


def test_nothing_has_no_quantile() -> None:
    with pytest.raises(ValueError, match="no values"):
        Recent(3).quantile(0.5)


@given(values=VALUES)
def test_limits_lie_between_floor_and_ceiling_and_few_answers_change_nothing(values: list[float]) -> None:
    settings = TimeoutSettings()
    timeouts = Timeouts(settings, CEILINGS)
    for value in values:
        timeouts.learned(KIND, first_s=value, stall_s=value, total_s=value)
    limits = timeouts.limits(KIND)
    if len(values) < settings.minimum:
        assert (limits.first_byte_s, limits.stall_s, limits.total_s) == (300.0, 120.0, 3600.0)
    assert settings.first_byte_floor <= limits.first_byte_s <= 300.0
    assert settings.stall_floor <= limits.stall_s <= 120.0
    assert limits.first_byte_s <= limits.total_s <= 3600.0
    assert f" {min(len(values), settings.samples)} streams" in timeouts.explain(KIND)


def test_a_limit_is_a_multiple_of_the_slowest_usual_answer() -> None:
    timeouts = Timeouts(TimeoutSettings(quantile=0.9, factor=3, first_byte_floor=0.1), CEILINGS)
    for number in range(1, 101):
        timeouts.learned(KIND, first_s=number / 100)
    assert timeouts.limits(KIND).first_byte_s == pytest.approx(3 * 0.9)
    assert timeouts.first_byte_quantile(KIND, 0.95) == 0.95
    assert timeouts.limits(KIND).stall_s == 120.0


@given(usual=st.floats(0.001, 50), factor=st.floats(1.5, 10))
def test_timeouts_that_are_learned_raise_the_limit_to_the_ceiling(usual: float, factor: float) -> None:
    """A fleet that has become slower than any limit gets the ceiling after a stated number of timeouts."""
    settings = TimeoutSettings(factor=factor, samples=100, quantile=0.99)
    timeouts = Timeouts(settings, CEILINGS)
    for _ in range(100):
        timeouts.learned(KIND, first_s=usual)
    each = 100 - ceil(0.99 * 100) + 1
    rounds = ceil(log(CEILINGS.first_byte_s / settings.first_byte_floor, factor)) + 1
    for _ in range(each * rounds):
        timeouts.learned(KIND, first_s=timeouts.limits(KIND).first_byte_s)
    assert timeouts.limits(KIND).first_byte_s == CEILINGS.first_byte_s


def test_off_means_the_configured_ones() -> None:
    timeouts = Timeouts(TimeoutSettings(adaptive=False), CEILINGS)
    for _ in range(100):
        timeouts.learned(KIND, first_s=0.1, stall_s=0.1, total_s=0.1)
    limits = timeouts.limits(KIND)
    assert (limits.first_byte_s, limits.stall_s, limits.total_s) == (300.0, 120.0, 3600.0)
    assert timeouts.explain(KIND) == "configured: adaptive is off"


@given(
    small=st.integers(0, 200_000), more=st.integers(0, 200_000), waiting=st.integers(0, 1000), also=st.integers(0, 1000)
)
def test_larger_requests_and_longer_queues_are_never_a_smaller_kind(
    small: int, more: int, waiting: int, also: int
) -> None:
    one, other = (
        kind_of("m", True, small, small, waiting),
        kind_of("m", True, small + more, small + more, waiting + also),
    )
    assert (one.input, one.queue) <= (other.input, other.queue)
    assert one.input <= other.input
    assert one.queue <= other.queue
    assert small == 0 or one.output <= other.output
    assert (one.output == 0) == (small == 0)


def test_the_first_byte_of_a_stream_does_not_depend_on_its_length_and_that_of_a_whole_answer_does() -> None:
    timeouts = Timeouts(TimeoutSettings(minimum=2), CEILINGS)
    for stream in (True, False):
        for _ in range(2):
            timeouts.learned(kind_of("m", stream, 100, 64, 0), first_s=9.0)
    assert timeouts.limits(kind_of("m", True, 100, 9000, 0)).first_byte_s == 27.0
    assert timeouts.limits(kind_of("m", False, 100, 9000, 0)).first_byte_s == 300.0
    assert timeouts.limits(kind_of("m", False, 100, 64, 0)).first_byte_s == 27.0


def test_kinds_are_bounded_and_the_longest_unused_goes() -> None:
    timeouts = Timeouts(TimeoutSettings(minimum=2), CEILINGS)
    first = Kind("m0", True, 0, 0, 0)
    for number in range(MOST_KINDS):
        for _ in range(2):
            timeouts.learned(Kind(f"m{number}", True, 0, 0, 0), first_s=9.0)
    assert timeouts.limits(first).first_byte_s == 27.0
    timeouts.learned(Kind("one more", True, 0, 0, 0), first_s=9.0)
    assert timeouts.limits(first).first_byte_s == 300.0
    assert timeouts.limits(Kind("m1", True, 0, 0, 0)).first_byte_s == 27.0
