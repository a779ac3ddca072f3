"""A supervisor divides what the store grants, tells it what was spent, and knows what dead workers had."""

from penstock.core.limit import Measure, Rule
from penstock.core.tenant import Principal, Tenant
from penstock.policy.limit.broker import IDLE_S, MOST, Broker, Replies
from penstock.policy.limit.bucket import Bucket, counted
from penstock.policy.limit.messages import Grant, Want, Wants
from penstock.policy.limit.statement import Answer, Answers, Batch

LEASE_S = 3.0
NOW = 10.0
STORE_US = 1_800_000_000_000_000


def bucket(rule: Rule) -> Bucket:
    return counted(Principal(Tenant(key="key")), "m", (rule,))[0].bucket


TOKENS = bucket(Rule("tokens", Measure.TOTAL_TOKENS, 1_000, window_s=60))
AT_ONCE = bucket(Rule("at-once", Measure.CONCURRENT_REQUESTS, 10))


class Desk:
    def __init__(self) -> None:
        self.broker = Broker("replica", LEASE_S)
        self.now = NOW
        self.number = 0

    def hear(self, worker: int, bucket: Bucket = TOKENS, **what: object) -> tuple[Grant, ...]:
        self.number += 1
        want = Want(bucket, **what)  # type: ignore[arg-type]
        return self.broker.heard(worker, Wants(self.number, (want,)), self.now).grants

    def batch(self) -> Batch:
        batch = self.broker.batch(self.now)
        assert batch is not None
        return batch

    def answer(self, *answers: Answer) -> Replies:
        return self.broker.answered(Answers(STORE_US, answers), self.now)

    def stock(self, amount: int) -> "Desk":
        """Worker 0 has so much."""
        assert not self.hear(0, need=amount, least=amount)
        self.batch()
        self.answer(Answer(amount, amount, 0))
        return self


def test_what_workers_need_is_asked_for_together_and_divided_in_their_order() -> None:
    desk = Desk()
    for worker, need in ((0, 30), (1, 40), (2, 50)):
        assert desk.hear(worker, need=need, least=need) == ()
    assert desk.broker.asked
    (statement,) = desk.batch().statements
    assert (statement.need, statement.least) == (120, 30)
    replies = desk.answer(Answer(75, 1_000, 0, {}))
    granted = {worker: grants.grants[0] for worker, grants in replies.items()}
    assert [granted[worker].amount for worker in range(3)] == [30, 40, 0]
    assert [granted[worker].short for worker in range(3)] == [0, 0, 50]
    assert all(grant.until < NOW + LEASE_S for grant in granted.values())


def test_only_one_exchange_is_under_way_and_what_comes_meanwhile_waits_for_the_next() -> None:
    desk = Desk()
    desk.hear(0, need=5, least=5)
    desk.batch()
    assert desk.broker.batch(desk.now) is None
    assert desk.hear(1, need=7, least=7) == ()
    replies = desk.answer(Answer(5, 5, 0))
    assert set(replies) == {0}
    (statement,) = desk.batch().statements
    assert (statement.amount, statement.need) == (5, 7)


def test_what_one_worker_gives_back_serves_another_without_the_store() -> None:
    desk = Desk().stock(50)
    desk.hear(0, back=50)
    (grant,) = desk.hear(1, need=20, least=20)
    assert grant.amount == 20
    (statement,) = desk.batch().statements
    assert statement.amount == 20


def test_nothing_is_given_after_the_lease_or_while_too_much_is_used() -> None:
    desk = Desk().stock(50)
    desk.hear(0, back=50)
    desk.now += LEASE_S
    assert desk.hear(1, need=20, least=20) == ()
    desk = Desk()
    desk.hear(0, AT_ONCE, back=-3)
    desk.batch()
    desk.answer(Answer(0, 12, 0))
    desk.hear(0, AT_ONCE, back=3)
    assert desk.hear(1, AT_ONCE, need=1, least=1) == ()


def test_what_was_spent_is_told_once_and_again_only_until_it_is_answered() -> None:
    desk = Desk().stock(50)
    desk.hear(0, spent=20)
    first = desk.batch().statements[0]
    assert (first.spent, first.amount) == (20, 30)
    desk.broker.failed()
    desk.hear(0, spent=5)
    second = desk.batch()
    assert (second.statements[0].spent, second.statements[0].since) == (20, first.since)
    assert second.statements[0].amount == 30, "the 5 are not told yet"
    desk.answer(Answer(0, 50, 0))
    third = desk.batch()
    assert (third.statements[0].spent, third.statements[0].since) == (5, third.number)
    assert third.statements[0].amount == 25


def test_refunds_are_dated_in_the_stores_time_and_never_too_late() -> None:
    desk = Desk().stock(50)
    desk.now += 40.0
    desk.hear(0, spent=20, refunds=((NOW + 0.5, 8),))
    ((at_us, amount),) = desk.batch().statements[0].refunds
    assert amount == 8
    assert STORE_US + 500_000 - 60_000 < at_us <= STORE_US + 500_000


def test_a_worker_that_dies_has_spent_what_it_had_and_holds_nothing() -> None:
    desk = Desk().stock(50)
    desk.hear(0, AT_ONCE, back=-2)
    desk.broker.left(0)
    by_bucket = {each.bucket.id: each for each in desk.batch().statements}
    assert (by_bucket[TOKENS.id].spent, by_bucket[TOKENS.id].amount) == (50, 0)
    assert (by_bucket[AT_ONCE.id].spent, by_bucket[AT_ONCE.id].amount) == (0, 0)


def test_a_grant_for_a_worker_that_has_died_goes_back() -> None:
    desk = Desk()
    desk.hear(0, need=5, least=5)
    desk.batch()
    desk.broker.left(0)
    assert desk.answer(Answer(5, 5, 0)) == {}
    assert desk.batch().statements[0].amount == 0


def test_when_the_store_is_away_who_waits_is_told_and_who_comes_is_told_at_once() -> None:
    desk = Desk().stock(50)
    desk.hear(0, need=5, least=5)
    desk.batch()
    desk.hear(1, need=5, least=5)
    replies = desk.broker.failed()
    assert {worker: grants.grants[0].away for worker, grants in replies.items()} == {0: True, 1: True}
    assert desk.broker.away
    (grant,) = desk.hear(2, need=1, least=1)
    assert grant.away
    desk.batch()
    desk.answer(Answer(0, 50, 0))
    assert not desk.broker.away
    assert desk.hear(2, need=1, least=1) == ()


def test_reports_of_a_worker_are_answered_in_their_order() -> None:
    desk = Desk()
    desk.hear(0, need=5, least=5)
    desk.batch()
    assert desk.hear(0, spent=0) == ()
    first = desk.answer(Answer(5, 5, 0))[0].grants
    desk.batch()
    second = desk.answer(Answer(0, 5, 0))[0].grants
    assert [grant.number for grant in (*first, *second)] == [1, 2]


def test_leases_are_renewed_while_something_is_held() -> None:
    desk = Desk().stock(50)
    assert desk.broker.batch(desk.now) is None
    desk.now += LEASE_S / 3 + 0.6
    assert desk.batch().statements[0].amount == 50


def test_pools_without_use_are_forgotten() -> None:
    desk = Desk().stock(50)
    desk.hear(0, spent=50)
    desk.batch()
    desk.answer(Answer(0, 50, 0))
    assert [use.used for use in desk.broker.uses()] == [50]
    desk.now += IDLE_S + 1
    assert desk.broker.batch(desk.now) is None
    assert desk.broker.uses() == []


def test_a_batch_is_bounded_and_the_rest_comes_next() -> None:
    desk = Desk()
    for number in range(MOST + 7):
        desk.hear(0, Bucket(f"b{number}", 10, 60_000_000), spent=1)
    assert len(desk.batch().statements) == MOST
    desk.answer(*[Answer(0, 1, 0)] * MOST)
    assert len(desk.batch().statements) == 7


def test_the_last_batch_tells_what_was_spent_and_gives_all_back() -> None:
    desk = Desk().stock(50)
    desk.hear(0, spent=10)
    desk.hear(0, AT_ONCE, back=-2)
    desk.broker.left(0)
    batch = desk.broker.farewell()
    assert batch is not None
    by_bucket = {each.bucket.id: each for each in batch.statements}
    assert (by_bucket[TOKENS.id].spent, by_bucket[TOKENS.id].amount) == (50, 0)
    assert by_bucket[AT_ONCE.id].amount == 0


def test_extra_follows_what_was_needed() -> None:
    desk = Desk()
    desk.hear(0, need=5, least=5, want=100)
    desk.hear(1, need=5, least=5, want=20)
    assert desk.batch().statements[0].want == 120
    replies = desk.answer(Answer(70, 70, 40))
    assert replies[0].grants[0].amount == 5 + 60
    assert replies[1].grants[0].amount == 5
    assert replies[1].grants[0].fair == 20
