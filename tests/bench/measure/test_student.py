"""Student's t against published tables and against itself."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.bench.measure.student import critical, p_value, paired, welch

TABLE = {(0.95, 1): 12.706, (0.95, 4): 2.776, (0.95, 8): 2.306, (0.90, 8): 1.860, (0.99, 20): 2.845, (0.95, 120): 1.980}
"""NIST/SEMATECH e-Handbook of Statistical Methods, 1.3.6.7.2."""


@pytest.mark.parametrize("place", TABLE)
def test_critical_values(place: tuple[float, int]) -> None:
    assert critical(*place) == pytest.approx(TABLE[place], abs=6e-4)


@given(st.floats(0.01, 40), st.floats(1, 300))
def test_p_values_are_probabilities_that_fall(t: float, freedom: float) -> None:
    found = p_value(t, freedom)
    assert 0 <= found <= 1
    assert p_value(t * 1.1, freedom) <= found + 1e-12
    assert p_value(-t, freedom) == pytest.approx(found)


def test_one_degree_of_freedom_is_cauchys() -> None:
    assert p_value(1.0, 1) == pytest.approx(0.5, abs=1e-12)
    with pytest.raises(ValueError, match="must be more"):
        p_value(1.0, 0)


def test_welch_and_pairs() -> None:
    difference, error, freedom = welch([1.0, 2.0, 3.0], [2.0, 4.0, 6.0])
    assert (difference, error) == (pytest.approx(2.0), pytest.approx((1 / 3 + 4 / 3) ** 0.5))
    assert freedom == pytest.approx(2.941, abs=1e-3)
    assert paired([1.0, 2.0, 3.0], [2.0, 3.0, 4.0]) == (pytest.approx(1.0), pytest.approx(0.0), 2.0)
