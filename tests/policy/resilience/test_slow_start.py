"""Slow start: never less than the minimum, never more than all, never falling, whole in the end."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.policy.resilience.slow_start import SlowStartSettings, weight

SETTINGS = st.builds(
    SlowStartSettings, window=st.floats(0, 100), minimum=st.floats(0.01, 1), aggression=st.floats(0.1, 10)
)


@given(settings=SETTINGS, ages=st.lists(st.floats(-1, 200), min_size=2))
def test_it_rises_from_the_minimum_to_all(settings: SlowStartSettings, ages: list[float]) -> None:
    weights = [weight(settings, age) for age in sorted(ages)]
    assert weights == sorted(weights)
    assert all(settings.minimum <= one <= 1 for one in weights)
    assert weight(settings, settings.window) == 1


def test_it_is_linear_by_default_and_faster_with_aggression() -> None:
    assert weight(SlowStartSettings(window=10), 0) == 0.1
    assert weight(SlowStartSettings(window=10), 5) == pytest.approx(0.5)
    assert weight(SlowStartSettings(window=10, aggression=2), 2.5) == pytest.approx(0.5)
