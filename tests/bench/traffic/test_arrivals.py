"""Due times: in order, at the rate that was asked for, as bursty as was asked for."""

from itertools import pairwise
from random import Random
from statistics import mean, pstdev

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.bench.traffic.arrivals import Constant, Diurnal, FlashCrowd, Ramp, Shape, Steps, arrivals

RATES = st.floats(0.1, 20)
SECONDS = st.floats(0.5, 20)
SHAPES = st.one_of(
    st.builds(Constant, RATES),
    st.builds(Ramp, RATES, RATES, SECONDS),
    st.builds(Steps, st.lists(RATES, min_size=1, max_size=5).map(tuple), SECONDS),
    st.builds(Diurnal, RATES, st.floats(0, 1), SECONDS),
    st.builds(FlashCrowd, RATES, RATES, st.floats(0, 50), SECONDS, st.floats(0, 50), SECONDS),
)


@given(SHAPES, SECONDS, st.sampled_from([0.0, 0.5, 1.0, 3.0]), st.integers(0, 1000))
def test_due_times_never_decrease_and_stay_inside_and_are_the_same_again(
    shape: Shape, seconds: float, cv: float, seed: int
) -> None:
    found = list(arrivals(shape, seconds, cv, Random(seed)))
    assert all(a <= b for a, b in pairwise(found))
    assert all(0 <= at <= seconds for at in found)
    assert found == list(arrivals(shape, seconds, cv, Random(seed)))


@given(SHAPES, SECONDS)
def test_what_is_due_is_the_integral_of_the_rate(shape: Shape, seconds: float) -> None:
    steps = 4000
    width = seconds / steps
    area = sum(shape.rate_at((number + 0.5) * width) for number in range(steps)) * width
    assert shape.due(seconds) == pytest.approx(area, rel=0.01, abs=0.05)
    assert shape.due(0.0) == pytest.approx(0.0, abs=1e-9)


@given(SHAPES, SECONDS)
def test_even_arrivals_are_as_many_as_are_due(shape: Shape, seconds: float) -> None:
    assert abs(len(list(arrivals(shape, seconds, 0.0, Random(1)))) - shape.due(seconds)) <= 1


@pytest.mark.parametrize("cv", [0.0, 0.3, 1.0, 2.0, 4.0])
def test_gaps_have_the_mean_and_the_variation_that_were_asked_for(cv: float) -> None:
    found = list(arrivals(Constant(100.0), 400.0, cv, Random(3)))
    gaps = [b - a for a, b in pairwise(found)]
    assert mean(gaps) == pytest.approx(0.01, rel=0.08)
    assert pstdev(gaps) / mean(gaps) == pytest.approx(cv, rel=0.1, abs=0.01)


def test_the_count_of_a_poisson_stage_varies_as_it_does_in_life() -> None:
    counts = [len(list(arrivals(Constant(5.0), 20.0, 1.0, Random(seed)))) for seed in range(400)]
    assert mean(counts) == pytest.approx(100, rel=0.03)
    assert pstdev(counts) == pytest.approx(10, rel=0.15)


def test_a_flash_crowd_rises_and_fades() -> None:
    crowd = FlashCrowd(base=1.0, peak=50.0, at=10.0, rise=2.0, hold=5.0, decay=5.0)
    rates = [crowd.rate_at(at) for at in (0.0, 9.9, 11.0, 12.0, 16.9, 22.0, 80.0)]
    assert rates[0] == rates[1] == 1.0
    assert rates[2] == pytest.approx(25.5)
    assert rates[3] == rates[4] == pytest.approx(50.0)
    assert rates[5] == pytest.approx(1 + 49 / 2.71828, rel=0.01)
    assert rates[6] == pytest.approx(1.0, abs=0.01)
