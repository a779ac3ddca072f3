"""A store that has said "no room" and takes its time to say it again is slow, not away."""

import pytest

from penstock.core.limit import Measure, Rule
from penstock.core.tenant import Principal, Tenant
from penstock.policy.limit.bucket import counted
from penstock.policy.limit.local import LocalLimits, Reservation, Short
from penstock.policy.limit.messages import Grant, Grants
from penstock.policy.limit.refusal import Refused, Why
from penstock.policy.limit.share import BELIEF_S, RECHECK_S

CALLER = Principal(Tenant("org", "team", "key"))


class Worker:
    """One with a full limit: the store has said so at time 0."""

    def __init__(self, *, fail_open: bool) -> None:
        self.limits = LocalLimits()
        rule = Rule("tokens", Measure.TOTAL_TOKENS, 100, window_s=60.0, fail_open=fail_open)
        self.plan = self.limits.plan(counted(CALLER, "m", [rule]))
        self.asks(0.0)
        self.told(0.0, short=10, refill_s=30.0, used=100)

    def asks(self, now: float, tokens: int = 10) -> int:
        """The number of the report that asks for more."""
        answer = self.limits.reserve(self.plan, now, tokens, 0)
        assert isinstance(answer, Short)
        assert self.limits.wants(now) is not None
        return answer.number

    def told(self, now: float, number: int = 1, **more: int | float | bool) -> None:
        grant = Grant(self.plan.parts[0][0].bucket.id, number, 0, now + 3.0, **more)  # type: ignore[arg-type]
        self.limits.take(Grants((grant,)), now)

    def waited(self, now: float, number: int, tokens: int = 10) -> Reservation | Short | Refused:
        return self.limits.reserve(self.plan, now, tokens, 0, gave_up=number)


@pytest.mark.parametrize("fail_open", [False, True])
def test_a_full_limit_stays_full_while_the_store_is_slow(fail_open: bool) -> None:
    worker = Worker(fail_open=fail_open)
    number = worker.asks(RECHECK_S + 0.1)
    answer = worker.waited(RECHECK_S + 0.15, number)
    assert isinstance(answer, Refused)
    assert answer.why is Why.FULL
    assert answer.refill_s == pytest.approx(30.0 - RECHECK_S - 0.15)


def test_what_is_less_than_was_refused_is_for_the_rule_to_decide() -> None:
    worker = Worker(fail_open=True)
    number = worker.asks(0.2, 5)
    assert isinstance(worker.waited(0.25, number, 5), Reservation)


def test_after_a_while_without_an_answer_the_rule_decides() -> None:
    for fail_open in (False, True):
        worker = Worker(fail_open=fail_open)
        answer = worker.waited(BELIEF_S + 0.05, worker.asks(BELIEF_S))
        if fail_open:
            assert isinstance(answer, Reservation)
        else:
            assert isinstance(answer, Refused)
            assert answer.why is Why.AWAY


def test_once_the_store_is_known_to_be_away_the_rule_decides_at_once() -> None:
    worker = Worker(fail_open=True)
    number = worker.asks(0.2)
    worker.told(0.21, number, away=True, short=0)
    assert isinstance(worker.waited(0.22, 0), Reservation)
