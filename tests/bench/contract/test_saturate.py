"""The search finds the knee of a server whose knee is known, and says how sure it is."""

from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.bench.contract.saturate import Knee, Trial, next_rate

SHARE = 0.9


def search(knee: float, first: float, seed: int, soft: float, width: float = 0.1, most: int = 40) -> tuple[Knee, int]:
    """A server of which answers are good with probability 0.99 below `knee`; `soft`: how much wider than a step the
    fall is, as a part of it."""
    rng, trials = Random(seed), list[Trial]()
    while True:
        rate = next_rate(trials, first, SHARE, width, most)
        if isinstance(rate, Knee):
            return rate, len(trials)
        chance = min(0.99, max(0.0, 0.9 - (rate / knee - 1) * 0.9 / soft)) if soft else 0.99 * (rate <= knee)
        count = max(60, round(rate * 20))
        trials.append(Trial(rate, count, sum(rng.random() < chance for _ in range(count))))


@given(st.floats(0.5, 500), st.floats(0.2, 100), st.integers(0, 99))
def test_a_sharp_knee_is_found_within_the_width(knee: float, first: float, seed: int) -> None:
    found, _ = search(knee, first, seed, 0.0)
    assert found.rate <= knee <= found.high
    assert found.low <= found.rate
    assert found.high - found.rate <= 0.1 * found.rate + 1e-9


def test_a_soft_knee_lies_within_the_uncertainty_that_is_stated() -> None:
    inside = 0
    for seed in range(40):
        found, _ = search(20.0, 1.0, seed, 0.5)
        inside += found.low * 0.999 <= 20.0 <= found.high * 1.001
    assert inside >= 36


def test_it_ends_after_as_many_trials_as_are_allowed() -> None:
    found, count = search(1000.0, 0.001, 1, 0.0, most=5)
    assert count == 5
    assert "5 trials" in found.why
    assert found.high == float("inf")


def test_a_server_that_never_passes() -> None:
    trials: list[Trial] = []
    for _ in range(6):
        rate = next_rate(trials, 8.0, SHARE, 0.1, 6)
        assert not isinstance(rate, Knee)
        trials.append(Trial(rate, 100, 0))
    found = next_rate(trials, 8.0, SHARE, 0.1, 6)
    assert isinstance(found, Knee)
    assert (found.rate, found.low) == (0.0, 0.0)
    assert found.high == pytest.approx(0.25)
