"""The budget of retries: the bound it states holds in every window, and what it should let through passes."""

from hypothesis import given
from hypothesis import strategies as st

from penstock.policy.resilience.retry import SLOTS, RetryBudget, RetrySettings

ROUNDING_S = 1e-6
"""Edges of slots are binary fractions: a window is not known better than that."""
SETTINGS = st.builds(
    RetrySettings,
    ratio=st.sampled_from([0.0, 0.1, 0.25, 1.0]),
    floor_per_s=st.sampled_from([0.0, 0.2, 1.0]),
    window=st.sampled_from([6.0, 60.0]),
)
STEPS = st.lists(
    st.tuples(st.floats(0, 8) | st.floats(5.8, 6.1), st.integers(0, 40), st.integers(0, 40)),
    max_size=40,
)
"""(seconds since the step before, requests, retries wished for)."""


def play(budget: RetryBudget, steps: list[tuple[float, int, int]]) -> tuple[list[float], list[float]]:
    """When requests came and when retries were granted."""
    now, requests, retries = 0.0, [], []
    for wait, asked, wished in steps:
        now += wait
        for _ in range(asked):
            budget.requested(now)
            requests.append(now)
        retries += [now for _ in range(wished) if budget.may_retry(now)]
    return requests, retries


@given(settings=SETTINGS, steps=STEPS)
def test_no_window_holds_more_retries_than_stated(settings: RetrySettings, steps: list[tuple[float, int, int]]) -> None:
    requests, retries = play(RetryBudget(settings), steps)
    for end in retries:
        held = sum(1 for at in retries if end - settings.window + ROUNDING_S < at <= end)
        earned = sum(1 for at in requests if end - settings.window - ROUNDING_S < at <= end)
        assert held <= max(settings.floor, settings.ratio * earned) + 1e-6


@given(settings=SETTINGS, steps=STEPS)
def test_a_lifetime_holds_no_more_than_its_share_and_one_floor_a_window(
    settings: RetrySettings, steps: list[tuple[float, int, int]]
) -> None:
    requests, retries = play(RetryBudget(settings), steps)
    windows = 1 + (retries[-1] // settings.window if retries else 0)
    assert len(retries) <= settings.ratio * len(requests) + settings.floor * windows + 1e-6


@given(steps=STEPS, calm=st.integers(120, 500))
def test_with_traffic_above_the_floor_the_amplification_is_at_most_one_and_a_tenth(
    steps: list[tuple[float, int, int]], calm: int
) -> None:
    """120 requests a window are the default floor of 12 divided by 0.1."""
    settings = RetrySettings()
    budget = RetryBudget(settings)
    steady = [(0.9 * settings.window / calm, 1, 0)] * calm
    play(budget, steady)
    assert settings.floor == 12
    now = 0.9 * settings.window
    granted = sum(budget.may_retry(now) for _ in range(1000))
    assert granted == int(0.1 * calm + 1e-9)
    assert budget.amplification <= 1.1 + 1e-9


def test_little_traffic_may_use_the_floor_and_gets_it_back_after_a_window() -> None:
    budget = RetryBudget(RetrySettings(ratio=0.1, floor_per_s=0.2, window=60))
    budget.requested(0.0)
    assert [budget.may_retry(1.9) for _ in range(13)] == [True] * 12 + [False]
    assert not budget.may_retry(61.8)
    assert budget.may_retry(1.9 + 60.0 + 60.0 / SLOTS)
    assert budget.explain(63.0)["left"] == 11


def test_a_clock_that_steps_back_earns_nothing() -> None:
    budget = RetryBudget(RetrySettings(floor_per_s=0.0))
    for _ in range(10):
        budget.requested(100.0)
    assert budget.may_retry(50.0)
    assert not budget.may_retry(10.0)
