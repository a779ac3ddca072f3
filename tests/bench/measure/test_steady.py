"""When a closed loop was full, and whether an open loop's queue grows."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.bench.measure.figures import Slo, figures
from penstock.bench.measure.growth import growth, slope
from penstock.bench.measure.steady import longest_full, steady
from penstock.bench.sample import Ending, Sample, Stage
from tests.bench.samples import queue, run


def span(index: int, due: float, ended: float, tokens: int = 10) -> Sample:
    """First content at once, last at the end."""
    return Sample(index, 0, due, due, due, ended, ended, output_tokens=tokens, events=2, gaps=[ended - due])


def test_the_span_at_full_concurrency_by_hand() -> None:
    """Two clients: the second comes a second late, and the first leaves two seconds early."""
    own = [span(0, 0.0, 4.0), span(1, 1.0, 5.0), span(2, 4.001, 8.0), span(3, 5.0, 10.0)]
    assert longest_full(own) == (1.0, 8.0), "a millisecond between two requests of a client is no break"
    found = steady(Stage("2 at once", 0.0, 10.0, 2), own)
    assert found is not None
    assert (found.seconds, found.share) == (7.0, pytest.approx(0.7))
    assert found.rate == pytest.approx(3 / 7)
    assert found.output_rate == pytest.approx((7.5 + 10 + 10 + 6) / 7)


def test_a_pause_ends_the_span() -> None:
    own = [span(0, 0.0, 4.0), span(1, 0.0, 4.0), span(2, 5.0, 11.0), span(3, 5.0, 11.0)]
    assert longest_full(own) == (5.0, 11.0)


def test_nearly_full_is_full() -> None:
    """95 % of twenty are nineteen."""
    own = [span(number, 0.0, 10.0 if number < 19 else 2.0) for number in range(20)]
    assert longest_full(own) == (0.0, 10.0)
    own[0].ended = 3.0
    assert longest_full(own) == (0.0, 3.0)


@given(st.lists(st.tuples(st.floats(0, 100), st.floats(0.1, 50)), min_size=1, max_size=60))
def test_a_span_lies_within_what_was_sent(pairs: list[tuple[float, float]]) -> None:
    own = [span(number, due, due + length) for number, (due, length) in enumerate(pairs)]
    begin, end = longest_full(own)
    assert min(each.due for each in own) <= begin < end <= max(each.ended for each in own)


def test_figures_say_it_of_all_classes_together() -> None:
    made = run(1)
    found = figures(made.stages[0], made.samples, Slo())
    assert found.steady is not None
    assert 0.9 < found.steady.share <= 1
    assert found.steady.rate == pytest.approx(found.rate, rel=0.1)
    assert found.growth is None
    assert found.notice == ""
    assert figures(made.stages[0], made.samples, Slo(), "k").steady is None
    assert steady(Stage("10/s", 0.0, 10.0, 0, 10.0), made.samples) is None
    assert steady(made.stages[0], []) is None


def grows(load: float, seed: int) -> bool:
    own = queue(load, seed)
    found = growth(Stage("10/s", 0.0, max(each.ended for each in own), 0, 10.0), own)
    return found is not None and found.queue_grows


def test_a_queue_that_grows_is_told_from_one_that_does_not() -> None:
    seeds = range(20)
    assert sum(grows(0.6, seed) for seed in seeds) == 0
    assert sum(grows(0.8, seed) for seed in seeds) <= 1
    assert sum(grows(1.2, seed) for seed in seeds) >= 18
    assert sum(grows(2.0, seed) for seed in seeds) >= 18


def test_the_numbers_of_a_growing_queue() -> None:
    """Twice what the server does: half of the requests stay, and each waits as much longer as passes."""
    own = queue(2.0, 3)
    found = figures(Stage("10/s", 0.0, max(each.ended for each in own), 0, 10.0), own, Slo())
    assert found.growth is not None
    assert found.growth.offered == pytest.approx(10.0, rel=0.15)
    assert found.growth.requests.value == pytest.approx(found.growth.offered - 5, rel=0.15)
    assert found.growth.requests.low < found.growth.requests.value < found.growth.requests.high
    assert found.growth.ttft.value == pytest.approx(found.growth.offered / 5 - 1, rel=0.2)
    assert found.notice.startswith("queue grows: offered rate is above what the server does; of ")
    assert " stayed, and TTFT grew by " in found.notice


def test_what_is_not_judged() -> None:
    own = queue(2.0, 3)
    stage = Stage("10/s", 0.0, max(each.ended for each in own), 0, 10.0)
    assert growth(stage, own[:45]) is None, "too few"
    assert growth(Stage("4 at once", 0.0, stage.end, 4), own) is None, "a closed loop has no queue that grows"
    assert growth(stage, []) is None
    for each in own:
        each.ending = Ending.TIMEOUT
    assert growth(stage, own) is None, "no whole answer"
    rising = queue(0.3, 5, ramp=0.05)
    assert growth(Stage("ramp", 0.0, max(each.ended for each in rising), 0, 25.0), rising) is None, (
        "it is meant to grow"
    )


def test_a_slope_and_its_interval() -> None:
    """By hand: y = 2x with residuals 1, -2, 1; t(0.975, 1) = 12.706."""
    found = slope([(0.0, 1.0), (1.0, 0.0), (2.0, 5.0)])
    assert found.value == pytest.approx(2.0)
    assert found.high - found.value == pytest.approx(12.7062 * (6 / 1 / 2) ** 0.5, rel=1e-4)


@given(st.floats(-10, 10), st.floats(-10, 10), st.floats(0.1, 10))
def test_a_line_has_its_own_slope(begin: float, rise: float, wide: float) -> None:
    found = slope([(wide * x, begin + rise * wide * x) for x in range(9)])
    assert found.value == pytest.approx(rise, abs=1e-6)
    assert found.low <= found.value <= found.high
