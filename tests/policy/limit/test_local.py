"""A worker's shares: all or nothing, no round trip while they last, refusals with their reason."""

import gc

import pytest

from penstock.core.limit import Level, Measure, Rule, Span
from penstock.core.tenant import Principal, Tenant
from penstock.policy.limit.bucket import counted
from penstock.policy.limit.local import SCAN_S, UNMETERED, LocalLimits, Plan, Reservation, Short
from penstock.policy.limit.messages import Grant, Grants, Wants
from penstock.policy.limit.refusal import Refused, Why

PRINCIPAL = Principal(Tenant("org", "team", "key"))
TOKENS = Rule("tokens", Measure.TOTAL_TOKENS, 1_000, window_s=60)
REQUESTS = Rule("requests", Measure.REQUESTS, 100, Level.TEAM, window_s=60)
AT_ONCE = Rule("at-once", Measure.CONCURRENT_REQUESTS, 10, Level.ORG)
BUDGET = Rule("budget", Measure.SPEND, 1_000, span=Span.DAY)
ALL = (TOKENS, REQUESTS, AT_ONCE)
NOW = 50.0


class Desk:
    """The supervisor, in the test's hands."""

    def __init__(self, *rules: Rule) -> None:
        self.limits = LocalLimits()
        self.plan: Plan = self.limits.plan(counted(PRINCIPAL, "m", rules))
        self.now = NOW

    def reserve(self, tokens: int, output: int = 0, spend: int = 0, gave_up: int = 0) -> Reservation | Short | Refused:
        return self.limits.reserve(self.plan, self.now, tokens, output, spend, gave_up)

    def reserved(self, tokens: int, output: int = 0, spend: int = 0) -> Reservation:
        result = self.reserve(tokens, output, spend)
        assert isinstance(result, Reservation), result
        return result

    def short(self, tokens: int) -> Short:
        result = self.reserve(tokens)
        assert isinstance(result, Short), result
        return result

    def refused(self, tokens: int, output: int = 0, gave_up: int = 0) -> Refused:
        result = self.reserve(tokens, output, 0, gave_up)
        assert isinstance(result, Refused), result
        return result

    def wants(self, after: float = SCAN_S + 1.0) -> Wants:
        self.now += after
        wants = self.limits.wants(self.now)
        assert wants is not None
        return wants

    def grant(self, wants: Wants, amount: int = 0, until: float = 1000.0, **more: float) -> None:
        grants = [Grant(want.bucket.id, wants.number, amount, until, **more) for want in wants.wants]  # type: ignore[arg-type]
        self.limits.take(Grants(tuple(grants)), self.now)

    def stock(self, amount: int, until: float = 1000.0, **more: float) -> "Desk":
        """Shares of `amount` for every rule."""
        assert isinstance(self.reserve(1, 0, 1), Short)
        self.grant(self.wants(0.0), amount, until, **more)
        return self


def test_the_first_request_asks_and_the_next_ones_do_not() -> None:
    desk = Desk(*ALL)
    short = desk.short(40)
    assert not short.answered
    wants = desk.wants(0.0)
    assert {want.bucket.id.split("/")[-3]: want.need for want in wants.wants} == {
        "tokens": 40,
        "requests": 1,
        "at-once": 1,
    }
    desk.grant(wants, 100)
    assert short.answered
    for _ in range(2):
        desk.reserved(40)
    desk.short(40)


def test_it_is_all_or_nothing() -> None:
    desk = Desk(*ALL).stock(2)
    desk.short(3)
    assert [share.free for share, _ in desk.plan.parts] == [2, 2, 2]


def test_a_share_is_not_spent_after_its_time() -> None:
    desk = Desk(TOKENS).stock(100, until=NOW + 3)
    desk.now = NOW + 2.999
    desk.reserved(10)
    desk.now = NOW + 3
    desk.short(10)
    (want,) = desk.wants().wants
    assert (want.spent, want.back) == (10, 90)
    desk.grant(Wants(2, (want,)), 5)
    assert desk.plan.parts[0][0].free == 5


def test_a_share_whose_time_is_up_is_lost_though_a_new_one_comes() -> None:
    desk = Desk(TOKENS).stock(100, until=NOW + 3, fair=100)
    desk.reserved(1)
    wants = desk.wants(2.0)
    desk.now = NOW + 4
    desk.grant(wants, 7)
    assert desk.plan.parts[0][0].free == 7
    kept = wants.wants[0].back + desk.wants().wants[0].back
    assert kept == 99 + 7


def test_what_was_reserved_too_much_goes_back_dated_and_not_into_the_share() -> None:
    desk = Desk(TOKENS).stock(100)
    reservation = desk.reserved(10, 50)
    desk.now += 20
    desk.limits.settle(reservation, 10, 30)
    assert desk.plan.parts[0][0].free == 40
    ((at, amount),) = desk.wants().wants[0].refunds
    assert amount == 20
    assert NOW - 60 / 240 < at <= NOW


def test_what_was_reserved_too_little_is_a_debt_of_the_share() -> None:
    desk = Desk(TOKENS).stock(100)
    reservation = desk.reserved(10, 50)
    desk.limits.settle(reservation, 10, 500)
    desk.short(1)
    (want,) = desk.wants(0.0).wants
    assert (want.spent, want.back, want.need) == (510, 0, 1)


def test_a_cancel_before_the_first_token_gives_all_back_but_the_request() -> None:
    desk = Desk(*ALL).stock(100)
    reservation = desk.reserved(10, 50)
    desk.limits.settle(reservation, 0, 0)
    by_rule = {want.bucket.id.split("/")[-3]: want for want in desk.wants().wants}
    assert sum(amount for _, amount in by_rule["tokens"].refunds) == 60
    assert not by_rule["requests"].refunds
    assert by_rule["at-once"].spent == 0


def test_settling_twice_settles_once() -> None:
    desk = Desk(*ALL).stock(100)
    reservation = desk.reserved(10, 50)
    for _ in range(2):
        desk.limits.settle(reservation, 10, 60)
    tokens, _, at_once = (share for share, _ in desk.plan.parts)
    assert (tokens.taken, tokens.free) == (70, 30)
    assert (at_once.taken, at_once.free) == (0, 100)


def test_what_is_held_returns_to_the_share_and_then_to_the_store() -> None:
    desk = Desk(AT_ONCE).stock(1)
    reservation = desk.reserved(1)
    desk.short(1)
    desk.limits.settle(reservation, 1, 1)
    again = desk.reserved(1)
    desk.limits.settle(again, 1, 1)
    assert desk.wants().wants[0].back == 1


def test_what_ends_while_too_much_runs_is_not_used_again() -> None:
    desk = Desk(AT_ONCE).stock(1, used=12)
    desk.limits.settle(desk.reserved(1), 1, 1)
    desk.short(1)


def test_no_room_is_a_refusal_that_says_what_it_waits_for() -> None:
    desk = Desk(TOKENS)
    desk.short(40)
    desk.grant(desk.wants(0.0), 0, used=990, short=40, refill_s=12.5, reset_s=60.0)
    refused = desk.refused(40)
    assert (refused.why, refused.rule, refused.amount, refused.used) == (Why.FULL, TOKENS, 40, 990)
    assert refused.refill_s == pytest.approx(12.5)
    desk.short(39)
    desk.now += 0.11
    desk.short(40)


def test_a_request_that_never_fits_is_told_so_and_asks_nobody() -> None:
    desk = Desk(TOKENS, Rule("nothing", Measure.OUTPUT_TOKENS, 0, models=("other",), window_s=60))
    assert desk.refused(1_001).why is Why.NEVER
    assert desk.limits.wants(desk.now) is None
    assert Desk(Rule("nothing", Measure.OUTPUT_TOKENS, 0, window_s=60)).refused(1).why is Why.NEVER


def test_an_estimate_above_the_limit_reserves_the_limit() -> None:
    desk = Desk(TOKENS, BUDGET).stock(1_000)
    reservation = desk.reserved(100, 5_000, 9_999)
    assert [share.free for share, _ in desk.plan.parts] == [0, 0]
    desk.limits.settle(reservation, 100, 200, 300)
    refunds = {want.bucket.limit: sum(amount for _, amount in want.refunds) for want in desk.wants().wants}
    assert refunds == {1_000: 700}
    assert [sum(amount for _, amount in part.refunds.items()) for part, _ in desk.plan.parts] == [0, 0]


def test_without_an_answer_the_rule_decides() -> None:
    closed, opened = Desk(TOKENS), Desk(Rule("tokens", Measure.TOTAL_TOKENS, 1_000, window_s=60, fail_open=True))
    assert closed.refused(10, gave_up=closed.short(10).number).why is Why.AWAY
    result = opened.reserve(10, gave_up=opened.short(10).number)
    assert isinstance(result, Reservation)
    assert [rule.name for rule in result.opened] == ["tokens"]
    share = opened.plan.parts[0][0]
    assert result.special == {share: UNMETERED}
    opened.limits.settle(result, 500, 500)
    assert (share.taken, share.free, share.refunds) == (0, 0, {})


def test_a_store_that_is_away_is_not_waited_for() -> None:
    desk = Desk(TOKENS)
    desk.short(10)
    desk.grant(desk.wants(0.0), 0, until=0.0, away=True)
    assert desk.refused(10).why is Why.AWAY
    desk.now += 0.11
    desk.short(10)


def test_budgets_and_what_runs_are_counted_though_the_store_is_away() -> None:
    desk = Desk(
        Rule("budget", Measure.SPEND, 1_000, span=Span.DAY, fail_open=True),
        Rule("at-once", Measure.CONCURRENT_REQUESTS, 10, fail_open=True),
    )
    short = desk.reserve(1, 1, 50)
    assert isinstance(short, Short)
    result = desk.reserve(1, 1, 50, gave_up=short.number)
    assert isinstance(result, Reservation)
    assert len(result.opened) == 2
    spend, at_once = desk.wants().wants
    assert (spend.spent, spend.back) == (50, 0)
    assert (at_once.spent, at_once.back) == (0, -1)
    desk.limits.settle(result, 1, 1, 60)
    spend, at_once = desk.wants().wants
    assert (spend.spent, at_once.back) == (10, 1)


def test_who_waited_while_others_took_the_answer_is_refused_and_not_told_that_the_store_is_away() -> None:
    desk = Desk(TOKENS)
    short = desk.short(10)
    desk.grant(desk.wants(0.0), 0)
    assert desk.refused(10, gave_up=short.number).why is Why.FULL


def test_a_shadow_rule_counts_and_reports_and_never_refuses() -> None:
    desk = Desk(Rule("tokens", Measure.TOTAL_TOKENS, 1_000, window_s=60, shadow=True))
    assert desk.reserved(10).shadowed == ()
    wants = desk.wants(0.0)
    desk.grant(wants, 0, used=1_000, short=10, refill_s=1.0)
    assert [rule.name for rule in desk.reserved(10).shadowed] == ["tokens"]
    assert [rule.name for rule in desk.reserved(2_000).shadowed] == ["tokens"]
    assert [want.spent for want in (*wants.wants, *desk.wants().wants)] == [10, 2_010]


def test_the_rule_that_refuses_for_longest_is_named() -> None:
    desk = Desk(TOKENS, REQUESTS)
    desk.short(10)
    wants = desk.wants(0.0)
    grants = [
        Grant(want.bucket.id, wants.number, 0, 1000.0, short=1, refill_s=refill)
        for want, refill in zip(wants.wants, (3.0, 9.0), strict=True)
    ]
    desk.limits.take(Grants(tuple(grants)), desk.now)
    assert desk.refused(10).rule is REQUESTS


def test_demand_is_met_ahead_and_goes_back_when_it_ends() -> None:
    desk = Desk(TOKENS).stock(500, fair=400)
    for _ in range(10):
        desk.reserved(10)
    want = desk.wants(0.2).wants[0]
    assert want.back + want.spent + desk.plan.parts[0][0].free == 500
    assert desk.plan.parts[0][0].free > 50
    for _ in range(12):
        desk.grant(Wants(desk.limits._number, (want,)), 0, fair=400)
        if not desk.plan.parts[0][0].free:
            break
        want = desk.wants(0.2).wants[0]
    assert not desk.plan.parts[0][0].free


def test_little_room_is_not_kept_from_others() -> None:
    desk = Desk(TOKENS).stock(500, fair=5)
    for _ in range(4):
        desk.short(501)
        desk.reserved(20)
    (want,) = desk.wants(0.2).wants
    assert (want.spent, want.back) == (80, 420)


def test_a_rule_that_has_changed_is_taken_over() -> None:
    desk = Desk(TOKENS).stock(100)
    higher = Rule("tokens", Measure.TOTAL_TOKENS, 5_000, window_s=60)
    plan = desk.limits.plan(counted(PRINCIPAL, "m", (higher,)))
    assert plan.parts[0][0] is desk.plan.parts[0][0]
    desk.reserved(10)
    assert desk.wants().wants[0].bucket.limit == 5_000


def test_shares_that_nobody_needs_are_forgotten() -> None:
    desk = Desk(*ALL).stock(10)
    reservation = desk.reserved(5)
    desk.plan = Plan(())
    gc.collect()
    assert len(desk.limits._shares) == 3, "a request runs"
    desk.limits.settle(reservation, 5, 0)
    del reservation
    reports = 0
    while (wants := desk.limits.wants(desk.now + reports + 1)) is not None:
        desk.grant(wants, 0)
        reports += 1
    gc.collect()
    assert reports
    assert not desk.limits._shares


def test_answers_come_when_the_share_has_reported_again_already() -> None:
    desk = Desk(TOKENS)
    desk.short(10)
    first = desk.wants(0.0)
    desk.short(10)
    second = desk.wants(0.0)
    desk.grant(first, 10)
    desk.grant(second, 10)
    desk.reserved(20)


def test_a_caller_without_rules_is_let_through() -> None:
    desk = Desk()
    desk.limits.settle(desk.reserved(10, 10), 10, 10)
    assert desk.limits.wants(1e9) is None
