"""Numbers as text."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.bench.report.units import change, digits, duration_tick, exact, milli, plain, seconds


@pytest.mark.parametrize(
    ("value", "text"),
    [(0, "0"), (0.00123456, "0.00123"), (1.2345, "1.23"), (9.996, "10.0"), (99.96, "100"), (12345.6, "12,346"),
     (-0.5, "-0.500"), (float("nan"), "-")],
)  # fmt: skip
def test_three_digits_count(value: float, text: str) -> None:
    assert digits(value) == text


@given(st.floats(1e-6, 1e7))
def test_digits_tell_the_value_to_a_part_in_two_hundred(value: float) -> None:
    text = digits(value)
    assert "e" not in text
    assert float(text.replace(",", "")) == pytest.approx(value, rel=0.0051)


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.0, "0 ms"), (2.5e-5, "25.0 µs"), (0.1234, "123 ms"), (0.99999, "1.00 s"), (1.5, "1.50 s"), (1200, "20.0 min")],
)
def test_durations_have_the_unit_that_suits_them(value: float, text: str) -> None:
    assert seconds(value) == text


def test_other_ways_to_write_a_number() -> None:
    assert milli(12.3456) == "12,346 ms"
    assert exact(0.3) == "300 ms"
    assert exact(1.5) == "1.5 s"
    assert change(-0.0123) == "\N{MINUS SIGN}1.2%"
    assert [plain(value) for value in (0.0, -0.0, 0.30000000000000004, 2500.0)] == ["0", "0", "0.3", "2,500"]
    assert [duration_tick(value) for value in (5e-4, 0.03, 1.0, 10.0)] == ["500 µs", "30 ms", "1 s", "10 s"]
