"""A life awaits Waits only: it goes on inside `set`, in whatever order they are set."""

from hypothesis import given
from hypothesis import strategies as st

from penstock.gateway.life import Life, Wait


def test_a_wait_that_is_set_already_is_not_waited_for() -> None:
    wait: Wait[int] = Wait()
    wait.set(1)
    told = []

    async def life() -> None:
        told.append(await wait)

    Life(life())
    assert told == [1]


def test_only_the_first_result_counts() -> None:
    wait: Wait[int] = Wait()
    told = []

    async def life() -> None:
        told.append(await wait)

    Life(life())
    assert not wait.done
    wait.set(1)
    wait.set(2)
    assert (told, wait.done) == ([1], True)


@given(order=st.permutations(range(5)), early=st.sets(st.integers(0, 4)))
def test_results_arrive_in_the_order_awaited(order: list[int], early: set[int]) -> None:
    waits: list[Wait[int]] = [Wait() for _ in range(5)]
    told: list[int] = []

    async def life() -> None:
        for wait in waits:
            told.append(await wait)
        told.append(-1)

    for number in early:
        waits[number].set(number)
    Life(life())
    for number in order:
        waits[number].set(number)
    assert told == [0, 1, 2, 3, 4, -1]


def test_a_life_may_set_the_wait_of_another() -> None:
    """As a finished answer lets a pipelined request take its connection."""
    first: Wait[str] = Wait()
    second: Wait[str] = Wait()
    told: list[str] = []

    async def one() -> None:
        told.append(await first)
        second.set("two")
        told.append("one is done")

    async def two() -> None:
        told.append(await second)

    Life(one())
    Life(two())
    first.set("one")
    assert told == ["one", "two", "one is done"]
