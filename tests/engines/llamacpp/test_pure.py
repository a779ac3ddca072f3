"""Thread counts."""

from hypothesis import given
from hypothesis import strategies as st

from penstock.engines.llamacpp.threads import thread_count, thread_environment


@given(st.integers(1, 512), st.integers(0, 512))
def test_threads_leave_a_core_unless_asked_otherwise(cores: int, asked: int) -> None:
    threads = thread_count(cores, asked)
    assert threads >= 1
    assert threads == asked if asked else threads == max(1, cores - 1)


def test_threads_sleep_while_waiting_unless_the_user_said_otherwise() -> None:
    assert thread_environment({})["OMP_WAIT_POLICY"] == "passive"
    assert thread_environment({"OMP_WAIT_POLICY": "active", "A": "b"}) == {"OMP_WAIT_POLICY": "active", "A": "b"}
