"""The fair order of one queue: who is first, who goes home, and how long a newcomer will wait."""

from math import inf

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.policy.admission import AdmissionQueue, AdmissionSettings, Admitted, Claim, Queued, Rejected, Waiter
from penstock.policy.fair import FairOrder, FairSettings, Shares


def order(aging: float = 10.0) -> FairOrder:
    made = FairOrder(FairSettings(aging=aging), Shares())
    made.engines = made.free = ("e",)
    return made


def claim(tenant: str, cost: float = 10.0, weight: float = 1.0) -> Claim:
    return Claim(tenant, weight, cost, cost)


def waiter(key: str, tenant: str, since: float = 0.0, *, priority: int = 0, weight: float = 1.0) -> Waiter:
    return Waiter(key, priority, inf, 10, since, claim(tenant, weight=weight))


def offer(
    queue: AdmissionQueue, key: str, tenant: str, now: float = 0.0, priority: int = 0, room: int = 0
) -> Admitted | Queued | Rejected:
    return queue.offer(key, now, room=room, tokens=10, priority=priority, claim=claim(tenant))


def test_tenants_take_turns_whatever_one_has_waiting() -> None:
    queue = AdmissionQueue(AdmissionSettings(), order())
    for number in range(5):
        offer(queue, f"a{number}", "a", 0.1 * number)
    for number in range(2):
        offer(queue, f"b{number}", "b", 1.0 + number)
    assert queue.take(7, 5.0) == ["a0", "b0", "a1", "b1", "a2", "a3", "a4"]


def test_without_tenants_it_is_first_come_first_served_in_a_priority() -> None:
    queue = AdmissionQueue(AdmissionSettings(), order())
    for number, priority in enumerate((0, -5, 7, 0, 7, -5)):
        queue.offer(str(number), 0.01 * number, room=0, tokens=10, priority=priority)
    assert queue.take(6, 0.1) == ["2", "4", "0", "3", "1", "5"]


def test_a_priority_that_is_passed_over_rises_by_a_level_in_the_time_of_aging() -> None:
    made = order(aging=10.0)
    for number in range(100):
        made.add(waiter(f"h{number}", "h", 0.0, priority=2))
    made.add(waiter("low", "l", 0.0))
    started = []
    for second in range(1, 40):
        first = made.first(float(second))
        assert first is not None
        made.remove(first)
        made.started(first, float(second))
        started.append(first.key)
    assert started.index("low") == 20, "at 21 s: 2 levels after 20 s, and the other has waited 1 s"


def test_nothing_ages_when_aging_is_off() -> None:
    made = order(aging=0.0)
    made.add(waiter("low", "l", 0.0))
    made.add(waiter("high", "h", 1e6, priority=1))
    first = made.first(1e6)
    assert first is not None
    assert first.key == "high"


def test_a_full_queue_sends_home_the_youngest_of_who_has_most_waiting() -> None:
    queue = AdmissionQueue(AdmissionSettings(requests=6), order())
    for number in range(5):
        offer(queue, f"a{number}", "a")
    offer(queue, "b0", "b")
    assert isinstance(offer(queue, "a5", "a"), Rejected), "its own request would be served last"
    answer = offer(queue, "b1", "b")
    assert isinstance(answer, Queued)
    assert answer.displaced == ("a4",)
    answer = offer(queue, "c0", "c")
    assert isinstance(answer, Queued)
    assert answer.displaced == ("a3",)
    answer = offer(queue, "b2", "b")
    assert isinstance(answer, Rejected), "now a and b have as much"
    low = queue.offer("low", 0.0, room=0, tokens=10, priority=-1, claim=claim("d"))
    assert isinstance(low, Rejected)
    high = queue.offer("high", 0.0, room=0, tokens=10, priority=1, claim=claim("a"))
    assert isinstance(high, Queued)
    assert len(high.displaced) == 1


def test_lower_priorities_go_home_before_any_of_ones_own() -> None:
    made = order()
    for number in range(3):
        made.add(waiter(f"a{number}", "a"))
    made.add(waiter("low", "b", priority=-1))
    made.add(waiter("high", "b", priority=1))
    assert [loser.key for loser in made.backward(waiter("new", "c"))] == ["low", "a2", "a1"]


@pytest.mark.parametrize(("weight", "ahead"), [(1.0, 8), (3.0, 5), (0.1, 20)])
def test_a_newcomer_is_told_of_those_that_go_before_it(weight: float, ahead: int) -> None:
    """b has 4 waiting: while these are served, a with weight 1 is served 4 / weight of its 16."""
    made = order()
    for number in range(16):
        made.add(waiter(f"a{number}", "a"))
    for number in range(4):
        made.add(waiter(f"b{number}", "b", weight=weight))
    requests, tokens = made.ahead(waiter("new", "b", weight=weight))
    assert requests == pytest.approx(ahead, abs=1)
    assert tokens == pytest.approx(10 * ahead, abs=10)
    assert made.ahead(waiter("new", "c")) == (0, 0)
    assert made.ahead(waiter("new", "c", priority=-1)) == (20, 200)


@given(
    drawn=st.lists(st.tuples(st.integers(0, 3), st.integers(-1, 1)), max_size=30),
    gone=st.sets(st.integers(0, 29)),
    room=st.integers(0, 30),
)
def test_it_tells_beforehand_whom_it_will_take(drawn: list[tuple[int, int]], gone: set[int], room: int) -> None:
    """When every request costs what is expected, at its start."""
    made = order(aging=0.0)
    queue = AdmissionQueue(AdmissionSettings(), made)
    for number, (tenant, priority) in enumerate(drawn):
        offer(queue, str(number), f"t{tenant}", 0.01 * number, priority)
    for number in gone:
        queue.cancel(str(number), 1.0)
    told = [each.key for each in made.forward()]
    assert sorted(told, key=int) == [str(number) for number in range(len(drawn)) if number not in gone]
    assert queue.take(room, 1.0) == told[:room]
    assert [each.key for each in made.forward()] == told[room:]
    assert {row["tenant"] for row in made.explain()} == set(made.tenants())


def test_orders_that_share_counters_agree_on_who_is_next() -> None:
    shares = Shares()
    one, other = FairOrder(FairSettings(), shares), FairOrder(FairSettings(), shares)
    queues = [AdmissionQueue(AdmissionSettings(), each) for each in (one, other)]
    for number in range(3):
        offer(queues[0], f"a{number}", "a", 0.1 * number)
        offer(queues[1], f"b{number}", "b", 0.1 * number + 0.05)
        offer(queues[1], f"a{number}'", "a", 0.1 * number + 0.06)
    started = []
    while any(queues):
        standings = [(standing, n) for n, q in enumerate(queues) if (standing := q.standing(1.0)) is not None]
        started += queues[min(standings)[1]].take(1, 1.0)
    assert started == ["a0", "b0", "a0'", "b1", "a1", "b2", "a1'", "a2", "a2'"]


def test_who_moves_to_other_counters_begins_there_at_their_level() -> None:
    made, shares = order(), Shares()
    made.add(waiter("a0", "a"))
    made.add(waiter("b0", "b"))
    counters = shares.of(0)
    veteran = counters.account("v", 1.0)
    veteran.counter = 1000.0
    counters.started(veteran, ("e",), 0.0)
    old = made.shares.of(0)
    made.move(shares)
    assert made.shares is shares
    assert (old.waiting, counters.waiting) == (0, 2)
    assert [counters.account(name, 1.0).counter for name in ("a", "b")] == [1000.0, 1000.0]
    assert [each.key for each in made.forward()] == ["a0", "b0"]


def test_those_whose_deadline_has_passed_do_not_hold_up_others() -> None:
    queue = AdmissionQueue(AdmissionSettings(longest=100.0), order())
    for number in range(3):
        queue.offer(f"a{number}", 0.0, room=0, tokens=10, deadline=1.0 + number, claim=claim("a"))
    offer(queue, "b0", "b", 0.5)
    assert queue.take(1, 2.0) == ["a2"]
    assert (len(queue), queue.tokens) == (3, 30)
    assert queue.cancel("a0", 2.0)
    assert queue.expired(2.0) == ["a1"]
    assert queue.drain(2.0) == ["b0"]
    assert (len(queue), queue.tokens) == (0, 0)
