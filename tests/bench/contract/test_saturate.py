"""The search finds the knee of a server whose knee is known, and says how sure it is."""

from collections.abc import Callable, Iterator
from heapq import heapreplace
from math import inf
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.bench.contract.saturate import CLOSE, Knee, Trial, next_rate

SHARE = 0.9
WIDTH = 0.1


def search(
    trial: Callable[[float, int], Trial], first: float, share: float = SHARE, most: int = 40
) -> tuple[Knee, list[Trial]]:
    """`trial`: of a rate, and which it is."""
    trials: list[Trial] = []
    while True:
        rate = next_rate(trials, first, share, WIDTH, most)
        if isinstance(rate, Knee):
            return rate, trials
        trials.append(trial(rate, len(trials)))


@given(st.floats(0.5, 500), st.floats(0.2, 100))
def test_a_sharp_knee_is_found_within_a_few_steps(knee: float, first: float) -> None:
    found, trials = search(lambda rate, _: Trial(rate, 100, 100 * (rate <= knee)), first)
    assert found.low <= knee <= found.high
    assert found.low <= found.rate <= found.high
    assert found.high <= found.low * (1 + WIDTH) ** CLOSE
    assert len(trials) < 30


def times(rate: float, seconds: float, slots: int, holds: float, rng: Random) -> Iterator[float]:
    """From arrival to end, of requests that come by a Poisson process and wait for one of `slots`."""
    free = [0.0] * slots
    at = rng.expovariate(rate)
    while at < seconds:
        ends = max(at, free[0]) + holds
        heapreplace(free, ends)
        yield ends - at
        at += rng.expovariate(rate)


@pytest.mark.parametrize("share", [0.9, 0.99])
@pytest.mark.parametrize(("slots", "holds", "seconds"), [(4, 0.05, 8.0), (4, 0.5, 20.0), (8, 1.0, 20.0)])
def test_the_knee_of_a_queue_lies_within_what_is_stated(slots: int, holds: float, seconds: float, share: float) -> None:
    def trial(rate: float, rng: Random) -> Trial:
        found = [each <= 3 * holds for each in times(rate, seconds, slots, holds, rng)]
        return Trial(rate, len(found), sum(found))

    low, high = 0.0, 2 * slots / holds
    for _ in range(9):
        middle = (low + high) / 2
        passed = sum(trial(middle, Random(number)).passes(share) for number in range(101))
        low, high = (middle, high) if passed > 50 else (low, middle)
    knee = (low + high) / 2
    inside, lengths, widths = 0, [], []
    for seed in range(30):
        found, trials = search(
            lambda rate, number, seed=seed: trial(rate, Random(f"{seed} {number}")),  # type: ignore[misc]
            knee * (0.15 + 0.01 * (seed % 10)), share, 20,
        )  # fmt: skip
        inside += found.low <= knee <= found.high
        lengths.append(len(trials))
        widths.append(found.high / max(found.low, 1e-9))
    assert inside >= 27
    assert sum(lengths) / len(lengths) < 14
    assert sorted(widths)[len(widths) // 2] < 1.4


def test_a_soft_knee_lies_within_the_uncertainty_that_is_stated() -> None:
    """Answers are good with a chance that falls slowly with the rate, and is the share at 20 requests/s."""
    inside = 0
    for seed in range(40):
        rng = Random(seed)

        def trial(rate: float, _: int, rng: Random = rng) -> Trial:
            chance = min(0.99, max(0.0, 0.9 - (rate / 20 - 1) * 1.8))
            count = max(60, round(rate * 20))
            return Trial(rate, count, sum(rng.random() < chance for _ in range(count)))

        found, _ = search(trial, 1.0)
        inside += found.low <= 20.0 <= found.high
    assert inside >= 36


def test_it_ends_after_as_many_trials_as_are_allowed() -> None:
    found, trials = search(lambda rate, _: Trial(rate, 10, 10), 0.001, most=5)
    assert len(trials) == 5
    assert "5 trials" in found.why
    assert (found.rate, found.low, found.high) == (0.016, 0.002, inf)


def test_a_server_that_never_passes() -> None:
    found, _ = search(lambda rate, _: Trial(rate, 100, 0), 8.0, most=6)
    assert (found.rate, found.low, found.high) == (0.0, 0.0, 2.0)


def test_one_lucky_trial_above_the_knee_does_not_lift_the_interval_over_it() -> None:
    found, _ = search(lambda rate, number: Trial(rate, 100, 100 * (rate <= 10 or number == 4)), 1.0)
    assert found.low <= 10 <= found.high
