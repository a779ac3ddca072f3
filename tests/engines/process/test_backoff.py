"""Back-off between starts."""

from hypothesis import given
from hypothesis import strategies as st

from penstock.engines.process.backoff import failures_after, restart_delay_s


@given(st.integers(0, 10_000), st.floats(0.001, 10), st.floats(10, 1000))
def test_the_delay_grows_to_its_cap_and_never_beyond(failures: int, base_s: float, cap_s: float) -> None:
    now, later = (restart_delay_s(n, base_s, cap_s) for n in (failures, failures + 1))
    assert 0.0 <= now <= later <= cap_s


def test_the_delay_doubles() -> None:
    assert [restart_delay_s(n, 0.25, 2.0) for n in range(6)] == [0.0, 0.25, 0.5, 1.0, 2.0, 2.0]


def test_a_long_healthy_life_clears_earlier_failures() -> None:
    assert failures_after(7, healthy_s=59.9, forgive_after_s=60.0) == 8
    assert failures_after(7, healthy_s=60.0, forgive_after_s=60.0) == 1
