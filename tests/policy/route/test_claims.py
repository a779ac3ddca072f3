"""How many requests were in flight at the moment a reading was taken."""

from hypothesis import given
from hypothesis import strategies as st

from penstock.policy.route.claims import Claims
from penstock.policy.route.facts import Ask, Lease

STEPS = st.lists(st.tuples(st.floats(0, 10), st.booleans()), max_size=80)


def lease(now: float) -> Lease:
    return Lease("a", 100, Ask("m"), now)


@given(steps=STEPS, when=st.floats(-1, 800))
def test_the_past_is_known_as_it_was(steps: list[tuple[float, bool]], when: float) -> None:
    held: list[Lease] = []
    claims, now, then = Claims(), 0.0, 0
    for wait_s, begins in steps:
        now += wait_s
        if begins or not held:
            held.append(lease(now))
            claims.take(held[-1], now)
        else:
            claims.give(held.pop(), now)
        if now <= when:
            then = len(held)
    assert claims.at(when) == then
    assert claims.at(now) == claims.requests == len(held)


def test_of_a_past_too_long_ago_no_count_is_negative() -> None:
    claims = Claims()
    for number in range(2000):
        one = lease(float(number))
        claims.take(one, float(number))
        if number % 2:
            claims.give(one, float(number))
    assert claims.requests == 1000
    assert 0 <= claims.at(-1.0) <= 1000
    assert claims.at(1999.0) == 1000
