"""Never more at the gateway than it takes: refusals shrink the window, answers grow it, pauses are kept."""

from hypothesis import given
from hypothesis import strategies as st

from penstock.gateway.durable.pace import LONGEST_S, Pace


def test_it_starts_with_all_it_may() -> None:
    pace = Pace(8)
    assert pace.room(0.0) == 8
    for _ in range(8):
        pace.started()
    assert pace.room(0.0) == 0
    pace.ended()
    assert pace.room(0.0) == 1
    assert Pace(0).room(0.0) == 0


def test_a_refusal_pauses_and_halves() -> None:
    pace = Pace(8)
    for _ in range(8):
        pace.started()
    assert pace.refused(10.0, 2.0) == 2.0
    assert (pace.window, pace.pause_s(10.5), pace.room(11.9)) == (4, 1.5, 0)
    for _ in range(3):  # those that were on their way with it
        pace.refused(10.1, 2.0)
    assert pace.window == 4
    assert pace.room(12.2) == 0
    for _ in range(4):
        pace.answered()
    assert pace.room(12.2) in (4, 5)


def test_refusals_without_a_time_wait_longer_and_longer() -> None:
    pace, now, waits = Pace(4), 0.0, []
    for _ in range(12):
        pace.started()
        waits.append(pace.refused(now, None))
        now += waits[-1]
    assert waits[:4] == [0.25, 0.5, 1.0, 2.0]
    assert waits[-1] == LONGEST_S
    pace.started()
    pace.answered()
    pace.started()
    assert pace.refused(now, None) == 0.25


@given(
    most=st.integers(1, 50),
    steps=st.lists(st.tuples(st.sampled_from(["start", "answer", "end", "refuse"]), st.floats(0, 5)), max_size=200),
)
def test_whatever_happens_the_window_is_between_one_and_all(most: int, steps: list[tuple[str, float]]) -> None:
    pace, now, running = Pace(most), 0.0, 0
    for step, seconds in steps:
        now += seconds
        if step == "start" and pace.room(now):
            pace.started()
            running += 1
        elif step != "start" and running:
            running -= 1
            {"answer": pace.answered, "end": pace.ended, "refuse": lambda: pace.refused(now, seconds)}[step]()  # noqa: B023
        assert 1 <= pace.window <= most
        assert 0 <= pace.running == running <= most
        assert pace.pause_s(now) <= LONGEST_S
