"""Accounts: where a tenant begins, what it is charged, and when its past is forgotten."""

import pytest

from penstock.policy.fair import Counters, Prices, Served, Shares, Turn

PRICES = Prices()


def test_prices_are_per_kind_of_token() -> None:
    assert PRICES.cost(100, 50) == 200
    assert PRICES.cost(100, 50, 80) == pytest.approx(20 + 8 + 100)
    assert Prices(input=0, output=1, cached=0).cost(100, 7, 50) == 7


def test_who_comes_after_long_use_by_others_begins_where_they_are() -> None:
    counters = Counters()
    old = counters.account("old", 1.0)
    for _ in range(100):
        counters.started(old, ("e",), 0.0)
        old.charge(1000.0)
    new = counters.account("new", 1.0)
    counters.lift(new, ("e",))
    assert 90_000 < new.counter < old.counter == 100_000


def test_a_tenant_is_lifted_to_the_highest_level_among_its_engines_and_no_other() -> None:
    counters = Counters()
    counters.waiting = 2
    slow, quick = counters.account("slow", 1.0), counters.account("quick", 1.0)
    slow.counter, quick.counter = 10.0, 1000.0
    counters.started(slow, ("a",), 0.0)
    counters.started(quick, ("b", "c"), 0.0)
    assert counters.level(("a",)) == 10
    assert counters.level(("a", "b")) == counters.level(("c",)) == 1000
    assert counters.level(("d",)) == 0
    counters.lift(slow, ("a", "c"))
    assert slow.counter == 1000
    counters.lift(slow, ("a",))
    assert slow.counter == 1000, "nobody is ever lowered"


def test_when_nothing_runs_or_waits_the_past_is_forgotten() -> None:
    counters = Counters()
    one, other = counters.account("one", 1.0), counters.account("other", 2.0)
    counters.started(one, ("e",), 0.0)
    counters.started(other, ("e",), 0.0)
    one.charge(10.0)
    other.charge(10.0)
    counters.ended(one)
    assert (counters.account("one", 1.0).counter, counters.account("other", 2.0).counter) == (10.0, 5.0)
    counters.ended(other)
    assert len(counters) == 0
    assert counters.level(("e",)) == 0


def test_accounts_that_say_nothing_are_dropped_and_others_kept() -> None:
    counters = Counters()
    busy = counters.account("busy", 1.0)
    counters.started(busy, ("e",), 0.0)
    debtor = counters.account("debtor", 1.0)
    debtor.counter = 500.0
    for number in range(1000):
        passing = counters.account(f"t{number}", 1.0)
        counters.started(passing, ("e",), 0.0)
        counters.ended(passing)
    assert len(counters) < 100
    assert counters.account("busy", 1.0) is busy
    assert counters.account("debtor", 1.0) is debtor


def test_a_weight_must_be_positive() -> None:
    counters = Counters()
    for weight in (0.0, -1.0, float("nan")):
        with pytest.raises(ValueError, match="must be above 0"):
            counters.account("t", weight)
    account = counters.account("t", 2.0)
    assert counters.account("t", 4.0).weight == 4.0
    assert counters.account("t", 4.0) is account


def test_priorities_have_counters_of_their_own() -> None:
    shares = Shares()
    shares.of(5).account("t", 1.0).counter = 7.0
    assert shares.of(0).account("t", 1.0).counter == 0
    assert set(shares.counters()) == {0, 5}


def turn(counters: Counters, served: Served, read: int = 100) -> Turn:
    account = counters.account("t", 2.0)
    counters.started(account, ("e",), 0.0)
    at_start = PRICES.cost(read, 0)
    account.charge(at_start)
    return Turn(counters, account, PRICES, served, read, at_start)


def test_a_turn_is_charged_totals_so_reports_may_come_late_or_twice() -> None:
    counters, served = Counters(), Served()
    other = counters.account("other", 1.0)
    counters.started(other, ("e",), 0.0)
    account = counters.account("t", 2.0)
    one = turn(counters, served)
    assert account.counter == 50
    for written in (5, 5, 20):
        one.charge(written)
    assert (one.charged, account.counter, served.cost) == (140, 70, 140)
    one.charge(30, 60, 40)  # the engine's report: less input, much of it cached, more output
    assert one.charged == pytest.approx(20 + 4 + 60)
    assert account.counter == pytest.approx(42)
    assert served.cost == pytest.approx(84)
    one.end()
    one.end()
    one.charge(1000)
    assert one.charged == pytest.approx(84)
    assert counters.running == 1


def test_the_expected_input_stands_where_the_engine_reports_none() -> None:
    one = turn(Counters(), Served())
    one.charge(10, 0, 90)
    assert one.charged == 120
