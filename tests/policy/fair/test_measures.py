"""Jain's index, shares over a window, and who was backlogged."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.policy.fair import Backlog, Served, Window, jain


def test_jains_index_knows_its_ends() -> None:
    assert jain([]) is None
    assert jain([0.0, 0.0]) is None
    assert jain([3.0]) == 1
    assert jain([5.0] * 7) == pytest.approx(1)
    assert jain([1.0, 0, 0, 0]) == pytest.approx(1 / 4)
    assert jain([2.0, 1.0]) == pytest.approx(9 / 10)


@given(values=st.lists(st.floats(0, 1e300), min_size=1, max_size=20), factor=st.floats(0.001, 1000))
def test_jains_index_is_between_1_of_n_and_1_whatever_the_scale(values: list[float], factor: float) -> None:
    index = jain(values)
    if index is None:
        assert not any(values)
        return
    assert 1 / len(values) - 1e-9 <= index <= 1 + 1e-9
    if max(values) < 1e290 and max(values) > 1e-200:
        assert jain([value * factor for value in values]) == pytest.approx(index)


def test_backlog_counts_the_time_between_two_looks_at_which_one_waited() -> None:
    served: dict[str, Served] = {"a": Served(cost=100.0)}
    backlog = Backlog()
    backlog.look(10.0, {"a": 2.0, "b": 1.0}, served)
    assert served["b"] == Served()
    served["a"].cost = 160.0
    backlog.look(11.0, {"a": 2.0}, served)
    assert served["a"] == Served(160.0, 1.0, 30.0)
    assert served["b"] == Served(), "it waits no more, and how long it did is not known"
    served["a"].cost = 200.0
    backlog.look(12.0, {}, served)
    backlog.look(13.0, {"a": 2.0}, served)
    assert served["a"] == Served(200.0, 1.0, 30.0)


def test_a_window_forgets_and_compares_only_who_was_backlogged() -> None:
    window = Window(10.0)
    assert window.shares() == {}
    assert window.index() is None
    totals = {"a": Served(1000.0), "b": Served()}
    for second in range(31):
        window.take(float(second), totals)
        totals["a"].cost += 30
        totals["a"].backlog_s += 1
        totals["a"].backlog_cost += 30
        totals["b"].cost += 10
        totals["b"].backlog_s += 1
        totals["b"].backlog_cost += 10
    totals["late"] = Served(400.0)  # asked for little and never waited
    window.take(31.0, totals)
    shares = window.shares()
    assert sum(shares.values()) == pytest.approx(1)
    assert shares["a"] == pytest.approx(3 * shares["b"])
    assert shares["late"] == pytest.approx(0.5, abs=0.05)
    assert window.index() == pytest.approx(16 / 20)
    window.take(32.0, {"a": Served(5000.0)})
    assert window.index() is None, "one tenant alone is neither fair nor unfair"
