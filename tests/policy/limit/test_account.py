"""The account of a bucket in a store: what is granted, what counts, and what a repeated or late statement changes."""

import itertools
from collections.abc import Callable

import pytest

from penstock.core.limit import Span
from penstock.policy.limit.account import FORGOTTEN_US, Account
from penstock.policy.limit.bucket import Bucket
from penstock.policy.limit.statement import Answer, Batch, Statement

SECOND = 1_000_000
NOW = 1_800_000_000 * SECOND
MINUTE = Bucket("tokens", 100, 60 * SECOND)
HELD = Bucket("at-once", 10)
DAY = Bucket("budget", 100, 0, Span.DAY)
LEASE = 3 * SECOND


class Holder:
    """Speaks for one replica, in order."""

    def __init__(self, account: Account, name: str, bucket: Bucket) -> None:
        self.account, self.name, self.bucket = account, name, bucket
        self.number = 0

    def __call__(
        self, now_us: int, amount: int = 0, spent: int = 0, need: int = 0, want: int = 0, least: int | None = None,
        refunds: tuple[tuple[int, int], ...] = (), number: int | None = None, since: int | None = None,
    ) -> Answer:  # fmt: skip
        self.number = self.number + 1 if number is None else number
        since = self.number if since is None else since
        least = need if least is None else least
        statement = Statement(self.bucket, amount, spent, refunds, since, least, need, want)
        batch = Batch(self.name, self.number, LEASE, (statement,))
        return self.account.exchange(batch, statement, now_us)


@pytest.fixture
def account() -> Account:
    return Account()


@pytest.fixture
def holder(account: Account) -> Callable[[Bucket, str], Holder]:
    return lambda bucket, name="a": Holder(account, name, bucket)


def test_what_is_spent_counts_until_its_whole_slice_is_a_window_old(holder: Callable[..., Holder]) -> None:
    a = holder(MINUTE)
    assert a(NOW, need=100).granted == 100
    a(NOW + 1, spent=100)
    slice_us = 60 * SECOND // 240
    leaves = (NOW // slice_us + 1) * slice_us + 60 * SECOND
    answer = a(leaves - 1, need=1)
    assert (answer.granted, answer.used, answer.slices) == (0, 100, {NOW // slice_us: 100})
    assert a(leaves, need=100).granted == 100


def test_a_need_is_met_in_part_only_when_the_part_is_of_use(holder: Callable[..., Holder]) -> None:
    a, b = holder(MINUTE), holder(MINUTE, "b")
    a(NOW, spent=90)
    assert b(NOW, need=20).granted == 0
    assert b(NOW, need=20, least=5).granted == 10


def test_half_of_what_is_left_may_be_kept_by_all_holders_together(holder: Callable[..., Holder]) -> None:
    a, b = holder(MINUTE), holder(MINUTE, "b")
    a(NOW)
    answer = b(NOW, want=100)
    assert answer.granted == 25
    assert answer.fair == 18


def test_an_answer_that_was_lost_is_put_right_by_the_next_exchange(holder: Callable[..., Holder]) -> None:
    a, b = holder(MINUTE), holder(MINUTE, "b")
    a(NOW, need=60)  # its answer is lost: the holder does not know of the 60
    assert b(NOW, need=60).granted == 0
    a(NOW, amount=0)
    assert b(NOW, need=60).granted == 60


def test_what_was_spent_is_taken_once_however_often_it_is_told(holder: Callable[..., Holder]) -> None:
    a = holder(MINUTE)
    a(NOW, need=50)
    for _ in range(3):
        assert a(NOW, spent=30, amount=20, refunds=((NOW, 5),), since=2).used == 45


def test_a_statement_that_comes_after_a_later_one_changes_nothing(
    account: Account, holder: Callable[..., Holder]
) -> None:
    a = holder(MINUTE)
    a(NOW, number=1)
    a(NOW, amount=50, number=3)
    answer = a(NOW, amount=10, spent=7, need=20, number=2)
    assert (answer.granted, answer.used) == (0, 50)
    assert account.holdings["a"].amount == 50


def test_a_dead_holders_part_counts_as_spent_at_the_end_of_its_lease(
    account: Account, holder: Callable[..., Holder]
) -> None:
    a, b = holder(MINUTE), holder(MINUTE, "b")
    a(NOW, need=40)
    for at in (LEASE, LEASE + 60 * SECOND - 1):
        assert b(NOW + at, need=61).granted == 0
    assert b(NOW + LEASE + 61 * SECOND, need=100).granted == 100
    assert set(account.holdings) == {"b"}


def test_a_holder_that_was_away_says_what_it_really_spent(holder: Callable[..., Holder]) -> None:
    a, b = holder(DAY), holder(DAY, "b")
    a(NOW, need=40)
    later = NOW + LEASE + 60 * SECOND
    assert b(later, need=61).granted == 0
    a(later, spent=10)
    assert b(later, need=90).granted == 90


def test_the_part_of_one_that_never_comes_back_is_spent_for_good(
    account: Account, holder: Callable[..., Holder]
) -> None:
    a, b = holder(DAY), holder(DAY, "b")
    a(NOW, need=40)
    answer = b(NOW + LEASE + FORGOTTEN_US, need=61, least=1)
    assert (answer.granted, answer.used) == (60, 100)
    assert set(account.holdings) == {"b"}
    assert sum(account.spent.values()) == 40


def test_what_is_held_is_free_when_the_lease_ends(holder: Callable[..., Holder]) -> None:
    a, b = holder(HELD), holder(HELD, "b")
    a(NOW, need=10)
    assert b(NOW + LEASE - 1, need=1).granted == 0
    assert b(NOW + LEASE, need=10).granted == 10


def test_what_runs_is_believed_even_beyond_the_limit(holder: Callable[..., Holder]) -> None:
    a, b = holder(HELD), holder(HELD, "b")
    a(NOW, amount=8)
    answer = b(NOW, amount=7, need=1, want=1)
    assert (answer.granted, answer.used, answer.fair) == (0, 15, 0)


def test_a_refund_is_taken_from_its_slice_or_a_later_one(account: Account, holder: Callable[..., Holder]) -> None:
    a = holder(MINUTE)
    for second, spent in ((0, 10), (10, 20), (20, 30)):
        a(NOW + second * SECOND, spent=spent)
    a(NOW + 20 * SECOND, refunds=((NOW + 5 * SECOND, 25),))
    assert [amount for _, amount in sorted(account.spent.items())] == [10, 25]


def test_a_refund_of_what_counts_no_more_is_void(account: Account, holder: Callable[..., Holder]) -> None:
    a = holder(MINUTE)
    a(NOW, spent=50)
    later = NOW + 61 * SECOND
    a(later, spent=50)
    a(later, refunds=((NOW, 50),))
    assert sum(account.spent.values()) == 50


def test_a_clock_of_the_store_that_runs_back_stands_still(account: Account, holder: Callable[..., Holder]) -> None:
    a = holder(MINUTE)
    a(NOW, spent=100)
    assert a(NOW - 3600 * SECOND, need=1).granted == 0
    assert account.seen_us == NOW
    assert a(NOW + 61 * SECOND, need=1).granted == 1


def test_a_day_begins_at_midnight_utc(holder: Callable[..., Holder]) -> None:
    a = holder(DAY)
    midnight = (NOW // (86_400 * SECOND) + 1) * 86_400 * SECOND
    a(NOW, spent=100)
    assert a(midnight - 1, need=1).granted == 0
    assert a(midnight, need=100).granted == 100


def test_an_account_ends_when_nothing_counts_any_more(account: Account, holder: Callable[..., Holder]) -> None:
    for bucket, name in itertools.product((MINUTE, DAY), "ab"):
        fresh = Account()
        Holder(fresh, name, bucket)(NOW, spent=10, need=5)
        ends = fresh.ends_us(bucket)
        other = Holder(fresh, "other", bucket)
        assert other(ends - 1, need=100).granted == 0
        assert other(ends, need=100).granted == 100
    holder(HELD)(NOW, need=1)
    assert account.ends_us(HELD) == NOW + LEASE
