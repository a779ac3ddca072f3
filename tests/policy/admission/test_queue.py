"""The queue: what is offered leaves exactly once, bounds hold, and estimates come from what the pool has done."""

from math import inf

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from penstock.policy.admission import AdmissionQueue, AdmissionSettings, Admitted, Outcome, Queued, Rejected


def fill(queue: AdmissionQueue, count: int, now: float = 0.0, *, priority: int = 0, tokens: int = 10) -> None:
    for number in range(count):
        answer = queue.offer(f"p{priority}-{number}", now, room=0, tokens=tokens, priority=priority)
        assert isinstance(answer, Queued)


def learn(queue: AdmissionQueue, per_s: float, tokens: int = 10, seconds: float = 100.0) -> float:
    """Works at that speed with somebody waiting; the time after it."""
    queue.offer("always", 0.0, room=0, tokens=0, priority=99)
    now = 0.0
    while now < seconds:
        now += 1.0 / per_s
        queue.completed(tokens, now)
    assert queue.cancel("always", now)
    return now


def test_it_starts_at_once_with_room_and_waits_behind_others_whatever_the_room() -> None:
    queue = AdmissionQueue(AdmissionSettings())
    assert queue.offer("a", 0.0, room=1, tokens=5) == Admitted(Outcome.DISPATCHED)
    assert queue.offer("b", 0.0, room=0, tokens=5) == Queued(0, None)
    assert queue.offer("c", 0.0, room=3, tokens=5) == Queued(1, None)
    assert "b" in queue
    assert (len(queue), queue.tokens) == (2, 10)
    with pytest.raises(ValueError, match="already waits"):
        queue.offer("c", 0.0, room=3, tokens=5)
    assert queue.take(0, 1.0) == []
    assert queue.take(5, 1.0) == ["b", "c"]
    assert (len(queue), queue.tokens, queue.soonest) == (0, 0, inf)


def test_higher_priorities_start_first_and_age_decides_inside_one() -> None:
    queue = AdmissionQueue(AdmissionSettings())
    fill(queue, 2, priority=-1)
    fill(queue, 2, priority=5)
    assert queue.offer("late", 1.0, room=0, tokens=1, priority=5) == Queued(2, None)
    assert queue.take(4, 2.0) == ["p5-0", "p5-1", "late", "p-1-0"]


def test_a_full_queue_sends_the_youngest_of_the_least_important_home_and_else_refuses() -> None:
    queue = AdmissionQueue(AdmissionSettings(requests=3, retry_after=4.0))
    fill(queue, 1, priority=-1)
    fill(queue, 2, priority=0)
    refused = queue.offer("low", 0.0, room=0, tokens=1, priority=-1)
    assert isinstance(refused, Rejected)
    assert (refused.outcome, refused.estimate_s, refused.retry_after_s) == (Outcome.REJECTED_CAPACITY, None, 4.0)
    assert refused.reason == "The queue is full: 3 requests with 30 tokens wait."
    assert queue.offer("high", 0.0, room=0, tokens=1, priority=1) == Queued(0, None, ("p-1-0",))
    assert queue.offer("high 2", 0.0, room=0, tokens=1, priority=1) == Queued(1, None, ("p0-1",))
    assert queue.take(9, 0.0) == ["high", "high 2", "p0-0"]


def test_tokens_bound_the_queue_too_and_nobody_is_sent_home_for_nothing() -> None:
    queue = AdmissionQueue(AdmissionSettings(tokens=100))
    fill(queue, 4, priority=0, tokens=20)
    assert isinstance(queue.offer("same", 0.0, room=0, tokens=21), Rejected)
    assert queue.offer("high", 0.0, room=0, tokens=50, priority=1) == Queued(0, None, ("p0-3", "p0-2"))
    assert queue.tokens == 90
    for large in (91, 101):
        assert isinstance(queue.offer("larger", 0.0, room=0, tokens=large, priority=1), Rejected)
    assert len(queue) == 3


def test_no_queue_at_all() -> None:
    queue = AdmissionQueue(AdmissionSettings(requests=0))
    assert isinstance(queue.offer("a", 0.0, room=1, tokens=1), Admitted)
    assert isinstance(queue.offer("b", 0.0, room=0, tokens=1), Rejected)


def test_deadlines_pass_at_their_time_and_not_before() -> None:
    queue = AdmissionQueue(AdmissionSettings(longest=10.0))
    queue.offer("soon", 0.0, room=0, tokens=1, deadline=3.0)
    queue.offer("later", 0.0, room=0, tokens=1)
    assert queue.soonest == 3.0
    assert queue.expired(2.9) == []
    assert queue.take(1, 3.0) == ["later"]
    assert queue.expired(3.0) == ["soon"]
    late = queue.offer("late", 5.0, room=1, tokens=1, deadline=5.0)
    assert isinstance(late, Rejected)
    assert (late.outcome, late.reason) == (Outcome.REJECTED_DEADLINE, "The deadline has passed.")


def test_those_who_leave_and_a_queue_that_is_emptied() -> None:
    queue = AdmissionQueue(AdmissionSettings())
    fill(queue, 3)
    assert queue.cancel("p0-1", 1.0)
    assert not queue.cancel("p0-1", 1.0)
    assert queue.drain(2.0) == ["p0-0", "p0-2"]
    assert (len(queue), queue.tokens) == (0, 0)


@given(per_s=st.floats(0.5, 50), ahead=st.integers(1, 30))
def test_the_estimate_is_the_queue_divided_by_the_speed(per_s: float, ahead: int) -> None:
    queue = AdmissionQueue(AdmissionSettings(longest=1000.0))
    now = learn(queue, per_s, tokens=10)
    fill(queue, ahead, now, tokens=10)
    answer = queue.offer("new", now, room=0, tokens=10)
    assert isinstance(answer, Queued)
    assert answer.estimate_s == pytest.approx((ahead + 1) / per_s, rel=0.1)


def test_tokens_ahead_count_when_they_take_longer() -> None:
    queue = AdmissionQueue(AdmissionSettings(longest=1000.0))
    now = learn(queue, 10.0, tokens=10)
    queue.offer("huge", now, room=0, tokens=5000)
    answer = queue.offer("new", now, room=0, tokens=10)
    assert isinstance(answer, Queued)
    assert answer.estimate_s == pytest.approx(50.0, rel=0.05)


@given(per_s=st.floats(0.5, 20), ahead=st.integers(1, 30), allowed=st.floats(0.01, 100))
def test_a_deadline_that_cannot_be_met_is_refused_at_once_with_the_estimate(
    per_s: float, ahead: int, allowed: float
) -> None:
    queue = AdmissionQueue(AdmissionSettings(longest=1000.0))
    now = learn(queue, per_s)
    fill(queue, ahead, now)
    free = queue.offer("free", now, room=0, tokens=1)
    assert isinstance(free, Queued)
    assert free.estimate_s is not None
    queue.cancel("free", now)
    answer = queue.offer("bound", now, room=0, tokens=1, deadline=now + allowed)
    if isinstance(answer, Rejected):
        assert answer.outcome is Outcome.REJECTED_DEADLINE
        assert now + free.estimate_s > now + allowed
        assert answer.retry_after_s == pytest.approx(max(1.0, free.estimate_s - allowed))
        assert f"would wait {free.estimate_s:.1f} s" in answer.reason
    else:
        assert now + free.estimate_s <= now + allowed
    assert ("bound" in queue) == isinstance(answer, Queued)


def test_an_idle_pool_teaches_nothing_and_the_first_in_line_always_may_wait() -> None:
    queue = AdmissionQueue(AdmissionSettings())
    for number in range(100):
        queue.completed(10, float(number))
    assert queue.explain(100.0)["requests_per_s"] is None
    taught = AdmissionQueue(AdmissionSettings())
    now = learn(taught, 10.0)
    for number in range(1000):
        taught.completed(1000, now + number / 1000)
    assert taught.explain(now + 1.0)["requests_per_s"] == pytest.approx(10.0, rel=0.05)
    assert taught.explain(now + 1.0)["tokens_per_s"] == pytest.approx(100.0, rel=0.05)
    slow = AdmissionQueue(AdmissionSettings())
    now = learn(slow, 0.2)
    assert isinstance(slow.offer("first", now, room=0, tokens=1, deadline=now + 0.1), Queued)
    assert isinstance(slow.offer("second", now, room=0, tokens=1, deadline=now + 0.1), Rejected)


def test_a_pool_that_stands_still_loses_its_reputation() -> None:
    queue = AdmissionQueue(AdmissionSettings(longest=1e6, memory=30.0))
    now = learn(queue, 10.0)
    queue.offer("stuck", now, room=0, tokens=1)
    first = queue.offer("a", now, room=0, tokens=1)
    after = queue.offer("b", now + 60.0, room=0, tokens=1)
    assert isinstance(first, Queued)
    assert isinstance(after, Queued)
    assert first.estimate_s is not None
    assert after.estimate_s is not None
    assert after.estimate_s > 5 * first.estimate_s
    forgotten = queue.offer("c", now + 600.0, room=0, tokens=1)
    assert forgotten == Queued(3, None)


class Conservation(RuleBasedStateMachine):
    """Every offered key leaves exactly once, and never with two outcomes."""

    BOUND, TOKENS = 4, 60

    def __init__(self) -> None:
        super().__init__()
        self.queue = AdmissionQueue(AdmissionSettings(requests=self.BOUND, tokens=self.TOKENS, longest=20.0))
        self.now = 0.0
        self.offered = 0
        self.waiting: dict[str, tuple[int, float]] = {}
        """Key -> priority and deadline."""
        self.outcomes: dict[str, Outcome] = {}

    def left(self, key: str, outcome: Outcome) -> None:
        assert key not in self.outcomes
        self.outcomes[key] = outcome

    @rule(room=st.integers(0, 1), tokens=st.integers(0, 30), priority=st.integers(-1, 2), allowed=st.floats(-1, 30))
    def offer(self, room: int, tokens: int, priority: int, allowed: float) -> None:
        key = f"k{self.offered}"
        self.offered += 1
        deadline = self.now + allowed
        answer = self.queue.offer(key, self.now, room=room, tokens=tokens, priority=priority, deadline=deadline)
        if isinstance(answer, Queued):
            for loser in answer.displaced:
                assert self.waiting.pop(loser)[0] < priority
                self.left(loser, Outcome.EVICTED_DISPLACED)
            self.waiting[key] = (priority, min(deadline, self.now + 20.0))
        else:
            assert not isinstance(answer, Admitted) or (room > 0 and not self.waiting and allowed > 0)
            self.left(key, answer.outcome)

    @rule(room=st.integers(0, 3))
    def take(self, room: int) -> None:
        ready = [key for key, (_, deadline) in self.waiting.items() if deadline > self.now]
        keys = self.queue.take(room, self.now)
        assert keys == sorted(ready, key=lambda key: -self.waiting[key][0])[:room]
        for key in keys:
            del self.waiting[key]
            self.left(key, Outcome.DISPATCHED)

    @rule(wait=st.floats(0, 8))
    def pass_time(self, wait: float) -> None:
        self.now += wait

    @rule(tokens=st.integers(0, 30))
    def complete(self, tokens: int) -> None:
        self.queue.completed(tokens, self.now)

    @rule()
    def expire(self) -> None:
        keys = self.queue.expired(self.now)
        assert set(keys) == {key for key, (_, deadline) in self.waiting.items() if deadline <= self.now}
        for key in keys:
            del self.waiting[key]
            self.left(key, Outcome.EVICTED_TTL)

    @precondition(lambda self: self.waiting)
    @rule(which=st.integers(0, 100))
    def cancel(self, which: int) -> None:
        key = sorted(self.waiting)[which % len(self.waiting)]
        assert self.queue.cancel(key, self.now)
        del self.waiting[key]
        self.left(key, Outcome.EVICTED_CONTEXT_CANCELLED)

    @rule()
    def drain(self) -> None:
        keys = self.queue.drain(self.now)
        assert set(keys) == set(self.waiting)
        for key in keys:
            self.left(key, Outcome.EVICTED_OTHER)
        self.waiting.clear()

    @invariant()
    def nothing_is_lost_or_doubled(self) -> None:
        assert len(self.queue) == len(self.waiting) <= self.BOUND
        assert all(key in self.queue for key in self.waiting)
        assert 0 <= self.queue.tokens <= self.TOKENS
        assert len(self.outcomes) + len(self.waiting) == self.offered
        assert not self.outcomes.keys() & self.waiting.keys()
        assert self.queue.soonest <= min((deadline for _, deadline in self.waiting.values()), default=inf)
        explained = self.queue.explain(self.now)
        assert msgspec.json.decode(msgspec.json.encode(explained)) == explained


TestConservation = Conservation.TestCase
TestConservation.settings = settings(max_examples=60, stateful_step_count=40)
