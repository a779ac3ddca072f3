"""The order of the queue: priority first, then age; the youngest of the least important goes home."""

from math import inf

from hypothesis import given
from hypothesis import strategies as st

from penstock.policy.admission import PriorityFifo, Waiter

WAITERS = st.lists(st.tuples(st.integers(-2, 2), st.integers(0, 100)), max_size=30).map(
    lambda drawn: [
        Waiter(f"k{number}", priority, inf, tokens, float(number)) for number, (priority, tokens) in enumerate(drawn)
    ]
)


@given(waiters=WAITERS, gone=st.sets(st.integers(0, 29)), priority=st.integers(-3, 3))
def test_it_is_a_stable_sort_by_priority(waiters: list[Waiter], gone: set[int], priority: int) -> None:
    order = PriorityFifo()
    for waiter in waiters:
        order.add(waiter)
    for index in gone:
        if index < len(waiters):
            order.remove(waiters[index])
    left = [waiter for index, waiter in enumerate(waiters) if index not in gone]
    in_order = sorted(left, key=lambda waiter: -waiter.priority)
    assert list(order.forward()) == in_order
    assert order.first(0.0) == (in_order[0] if in_order else None)
    assert order.standing(0.0) == ((-in_order[0].priority, in_order[0].since) if in_order else None)
    newcomer = Waiter("new", priority, inf, 1, 99.0)
    first = [waiter for waiter in left if waiter.priority >= priority]
    assert order.ahead(newcomer) == (len(first), sum(waiter.tokens for waiter in first))
    assert list(order.backward(newcomer)) == [waiter for waiter in reversed(in_order) if waiter.priority < priority]
