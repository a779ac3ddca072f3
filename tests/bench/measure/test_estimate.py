"""Intervals of figures: they hold what they should as often as they say."""

from random import Random

import pytest

from penstock.bench.measure.estimate import ends_of, of_rate, of_runs, tokens_of
from penstock.bench.sample import Stage
from tests.bench.samples import run, sample


def test_of_one_run_there_is_no_interval() -> None:
    found = of_runs([3.0])
    assert (found.value, found.low, found.high) == (3.0, None, None)


def test_of_runs_is_geometric_and_of_zeros_arithmetic() -> None:
    found = of_runs([1.0, 4.0])
    assert found.value == pytest.approx(2.0)
    assert found.low is not None
    assert found.low > 0
    zero = of_runs([0.0, 1.0, 0.0])
    assert zero.value == pytest.approx(1 / 3)
    assert zero.low == 0.0


def test_the_interval_of_runs_holds_the_truth_nineteen_times_of_twenty() -> None:
    rng, held = Random(4), 0
    for _ in range(400):
        found = of_runs([rng.lognormvariate(0.0, 0.05) for _ in range(5)])
        assert found.low is not None
        assert found.high is not None
        held += found.low <= 1.0 <= found.high
    assert 0.92 <= held / 400 <= 0.98


def test_the_interval_of_a_rate_holds_the_truth() -> None:
    """Poisson arrivals, 8 per second for 60 s."""
    rng, held = Random(5), 0
    for _ in range(300):
        at, ends = 0.0, []
        while (at := at + rng.expovariate(8.0)) < 60:
            ends.append((at, at, 1.0))
        found = of_rate(ends, Stage("s", 0.0, 60.0))
        assert found.value == pytest.approx(len(ends) / 60)
        assert found.low is not None
        assert found.high is not None
        held += found.low <= 8.0 <= found.high
    assert 0.9 <= held / 300 <= 0.985


def test_what_is_spread_over_slices_is_all_counted() -> None:
    made = run(1)
    found = of_rate(tokens_of(made.samples), made.stages[0])
    length = made.stages[0].end - made.stages[0].begin
    assert found.value == pytest.approx(sum(each.output_tokens for each in made.samples) / length)
    assert found.low is not None
    assert found.high is not None
    assert found.low <= found.value <= found.high


def test_a_few_events_have_no_interval() -> None:
    found = of_rate(ends_of([sample(each, float(each)) for each in range(5)]), Stage("s", 0.0, 5.0))
    assert found.value == pytest.approx(1.0)
    assert found.low is None
