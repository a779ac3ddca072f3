"""How many requests were in flight at the moment a reading was taken."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.policy.route.claims import Busy, Claims
from penstock.policy.route.facts import Ask, Lease

STEPS = st.lists(st.tuples(st.floats(0, 10), st.booleans()), max_size=80)


def lease(now: float) -> Lease:
    return Lease("a", 100, Ask("m"), now)


def played(steps: list[tuple[float, bool]]) -> tuple[Claims, list[tuple[float, int]]]:
    """After the steps, and how many requests were in flight from when on."""
    held: list[Lease] = []
    claims, now, history = Claims(Busy()), 0.0, [(0.0, 0)]
    for wait_s, begins in steps:
        now += wait_s
        if begins or not held:
            held.append(lease(now))
            claims.take(held[-1], now)
        else:
            claims.give(held.pop(), now)
        history.append((now, len(held)))
    return claims, history


def level(history: list[tuple[float, int]], when: float) -> int:
    return next((count for since, count in reversed(history) if since <= when), 0)


@given(steps=STEPS, when=st.floats(-1, 800))
def test_the_past_is_known_as_it_was(steps: list[tuple[float, bool]], when: float) -> None:
    claims, history = played(steps)
    assert claims.at(when) == level(history, when)
    assert claims.at(history[-1][0]) == claims.requests == history[-1][1]


@given(steps=STEPS, since=st.floats(0, 400), seconds=st.floats(0.1, 400))
def test_the_company_of_a_while_is_the_mean_over_its_seconds(
    steps: list[tuple[float, bool]], since: float, seconds: float
) -> None:
    claims, history = played(steps)
    until = since + seconds
    ends = [later for later, _ in history[1:]] + [float("inf")]
    area = sum(
        count * max(0.0, min(end, until) - max(begin, since)) for (begin, count), end in zip(history, ends, strict=True)
    )
    assert claims.joined(since, until) == pytest.approx(area / seconds - level(history, since), abs=1e-6)
    assert claims.joined(until, since) == 0.0


@given(changes=st.lists(st.tuples(st.integers(1, 900), st.integers(0, 900)), max_size=4), back=st.floats(0, 1))
def test_more_changes_than_are_remembered_never_make_a_count_negative(
    changes: list[tuple[int, int]], back: float
) -> None:
    claims, held, now = Claims(Busy()), [lease(0.0)], 0.0
    claims.take(held[0], 0.0)
    for begun, ended in changes:
        for step in range(begun + min(ended, len(held))):
            now += 1.0
            if step < begun:
                held.append(lease(now))
                claims.take(held[-1], now)
            else:
                claims.give(held.pop(), now)
    assert claims.at(back * now) >= 0
    assert claims.at(now) == len(held)


@given(steps=st.lists(st.tuples(st.floats(0.01, 5), st.integers(0, 3), st.booleans()), max_size=80))
def test_engines_are_busy_from_their_first_request_to_their_last(steps: list[tuple[float, int, bool]]) -> None:
    busy = Busy()
    engines = [Claims(busy) for _ in range(4)]
    held: list[list[Lease]] = [[] for _ in engines]
    now = area = 0.0
    for wait_s, number, begins in steps:
        area += wait_s * sum(map(bool, held))
        now += wait_s
        if begins or not held[number]:
            held[number].append(lease(now))
            engines[number].take(held[number][-1], now)
        else:
            engines[number].give(held[number].pop(), now)
        assert busy.engines == sum(map(bool, held))
        assert busy.requests == sum(map(len, held))
    if now:
        assert busy.changes.mean(0.0, now) == pytest.approx(area / now, abs=1e-6)
