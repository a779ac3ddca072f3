"""The breaker: when it opens, for how long, and that no more probes run than it allows."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.policy.resilience.breaker import MOST_RESULTS, Breaker, BreakerSettings, State

SETTINGS = BreakerSettings(consecutive=3, open=5.0, growth=2.0, open_cap=30.0, probes=2, successes=2, probe_lost=60.0)


def fail(breaker: Breaker, now: float, times: int = 1) -> None:
    for _ in range(times):
        breaker.began(now)
        breaker.ended(now, False, "upstream_reset", since=now)


def test_failures_in_a_row_open_it_and_a_success_between_them_does_not() -> None:
    breaker = Breaker(SETTINGS)
    for _ in range(5):
        fail(breaker, 0.0, 2)
        breaker.ended(0.0, True)
    assert breaker.state(0.0) is State.CLOSED
    fail(breaker, 1.0, 3)
    assert breaker.state(1.0) is State.OPEN
    assert breaker.reason == "3 failures in a row, the last upstream_reset"
    assert not breaker.admits(5.9)
    assert breaker.admits(6.0)


def test_the_share_of_failures_opens_it_only_with_enough_results_inside_the_window() -> None:
    settings = BreakerSettings(consecutive=0, rate=0.5, window=10.0, minimum=10)
    breaker = Breaker(settings)
    for number in range(9):
        breaker.ended(number * 0.1, False)
    assert breaker.state(1.0) is State.CLOSED
    breaker.ended(20.0, False)
    assert breaker.state(20.0) is State.CLOSED
    for number in range(9):
        breaker.ended(20.5, number % 2 == 0)
    breaker.ended(21.0, False)
    assert breaker.state(21.0) is State.OPEN
    assert "failed in 10 s" in breaker.reason


def test_much_traffic_does_not_confuse_the_count_of_failures() -> None:
    breaker = Breaker(BreakerSettings(consecutive=0, minimum=MOST_RESULTS, rate=0.9))
    for _ in range(3):
        for number in range(MOST_RESULTS):
            breaker.ended(1.0, number % 5 == 0)
    assert breaker.state(1.0) is State.CLOSED
    for _ in range(MOST_RESULTS):
        breaker.ended(1.0, False)
    assert breaker.state(1.0) is State.OPEN


@given(times=st.integers(1, 80))
def test_each_time_in_a_row_it_stays_open_longer_up_to_the_cap(times: int) -> None:
    breaker = Breaker(SETTINGS)
    now = 0.0
    fail(breaker, now, 3)
    for number in range(1, times + 1):
        assert breaker.until - now == pytest.approx(min(30.0, 5.0 * 2.0 ** (number - 1)))
        now = breaker.until
        assert breaker.state(now) is State.HALF_OPEN
        fail(breaker, now)
        assert breaker.opened == number + 1
        assert breaker.reason == "a probe failed (upstream_reset)"


def test_probes_that_succeed_close_it_and_clear_the_count() -> None:
    breaker = Breaker(SETTINGS)
    fail(breaker, 0.0, 3)
    for now in (5.0, 6.0):
        assert breaker.admits(now)
        breaker.began(now)
        breaker.ended(now, True, since=now)
    assert breaker.state(6.0) is State.CLOSED
    assert breaker.opened == 0
    fail(breaker, 7.0, 2)
    assert breaker.state(7.0) is State.CLOSED


def test_what_began_before_it_opened_says_nothing_about_the_engine_now() -> None:
    breaker = Breaker(SETTINGS)
    fail(breaker, 10.0, 3)
    assert breaker.state(15.0) is State.HALF_OPEN
    breaker.ended(15.0, False, "upstream_reset", since=9.0)
    breaker.ended(15.0, True, since=9.0)
    assert breaker.state(15.0) is State.HALF_OPEN
    breaker.began(15.0)
    breaker.ended(15.0, True, since=15.0)
    breaker.began(15.5)
    breaker.ended(15.5, True, since=15.5)
    assert breaker.state(16.0) is State.CLOSED
    for _ in range(5):
        breaker.ended(16.0, False, since=9.0)
    assert breaker.state(16.0) is State.CLOSED


def test_a_probe_whose_client_left_frees_its_place_and_a_lost_one_does_later() -> None:
    breaker = Breaker(SETTINGS)
    fail(breaker, 0.0, 3)
    breaker.began(5.0)
    breaker.began(5.0)
    assert not breaker.admits(5.0)
    breaker.ended(6.0, None, "client_left", since=5.0)
    assert breaker.admits(6.0)
    breaker.began(6.0)
    assert not breaker.admits(64.0)
    assert breaker.admits(65.0)
    assert breaker.state(65.0) is State.HALF_OPEN


ACTIONS = st.lists(
    st.tuples(st.floats(0, 4), st.sampled_from(["begin", "ok", "fail", "left"]), st.integers(0, 100)), max_size=80
)


@given(actions=ACTIONS, probes=st.integers(1, 3))
def test_who_asks_first_never_has_more_probes_running_than_allowed(
    actions: list[tuple[float, str, int]], probes: int
) -> None:
    breaker = Breaker(BreakerSettings(consecutive=2, open=3.0, probes=probes, successes=2, probe_lost=1e4))
    now = 0.0
    running: list[tuple[float, bool]] = []
    """(began, as a probe)."""
    for wait, action, which in actions:
        now += wait
        state = breaker.state(now)
        if action == "begin":
            if breaker.admits(now):
                assert state is not State.OPEN
                breaker.began(now)
                running.append((now, state is State.HALF_OPEN))
        elif running:
            began, _ = running.pop(which % len(running))
            breaker.ended(now, {"ok": True, "fail": False, "left": None}[action], since=began)
        if breaker.state(now) is not State.HALF_OPEN:
            running = [(began, False) for began, _ in running]
        assert sum(probe for _, probe in running) <= probes
