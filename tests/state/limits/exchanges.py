"""Random exchanges in the store's own order, and what the meaning of an account answers to them."""

import random
from collections.abc import Iterator

from hypothesis import strategies as st

from penstock.core.limit import Span
from penstock.policy.limit.account import Account
from penstock.policy.limit.bucket import Bucket
from penstock.policy.limit.statement import Answers, Batch, Statement

SECOND = 1_000_000
LEASE_US = 3 * SECOND
MIDNIGHT_US = 1_796_083_200 * SECOND
"""2026-12-01T00:00Z: a day and a month begin."""
STEPS_US = (
    0,
    1,
    1_000,
    90_000,
    700_000,
    2 * SECOND,
    4 * SECOND,
    70 * SECOND,
    700 * SECOND,
    86_400 * SECOND,
    -5 * SECOND,
)
SEEDS = st.integers(0, 2**32)


def buckets(prefix: str) -> tuple[Bucket, ...]:
    """One of every kind. Their ids begin with `prefix`: each example has a store of its own."""
    return (
        Bucket(f"{prefix}/minute", 1_000, 60 * SECOND),
        Bucket(f"{prefix}/odd", 500, 1_000_001),
        Bucket(f"{prefix}/hour", 2**53 - 1, 3600 * SECOND),
        Bucket(f"{prefix}/day", 2_000, 0, Span.DAY),
        Bucket(f"{prefix}/month", 5_000, 0, Span.MONTH),
        Bucket(f"{prefix}/held", 20),
    )


def exchanges(seed: int, prefix: str, count: int = 60) -> Iterator[tuple[int, Batch]]:
    """(the store's clock, batch). Clocks jump and run back, numbers repeat and come late, answers get lost."""
    rng = random.Random(seed)
    now_us = MIDNIGHT_US - rng.choice((SECOND, 100 * SECOND, 86_400 * SECOND, 40 * 86_400 * SECOND))
    numbers = {"a": 0, "b": 0, "c": 0}
    for _ in range(count):
        now_us += rng.choice(STEPS_US)
        holder = rng.choice("abc")
        numbers[holder] += 1
        number = max(1, numbers[holder] - rng.choice((0, 0, 0, 0, 1, 2)))
        chosen = rng.sample(buckets(prefix), rng.randint(1, 6))
        statements = tuple(_statement(rng, bucket, now_us, number) for bucket in chosen)
        yield now_us, Batch(holder, number, LEASE_US, statements)


def _statement(rng: random.Random, bucket: Bucket, now_us: int, number: int) -> Statement:
    def some() -> int:
        return rng.choice((0, 0, 1, rng.randint(0, 30), rng.randint(0, 1_000)))

    refunds = tuple((now_us - rng.choice(STEPS_US), 1 + some()) for _ in range(rng.choice((0, 0, 1, 3))))
    need = some()
    least = rng.randint(1, need) if need else 0
    since = max(0, number - rng.choice((0, 0, 1, 3)))
    return Statement(bucket, some() // 4, some(), refunds, since, least, need, some())


class Meaning:
    """What every store must answer."""

    def __init__(self) -> None:
        self.accounts: dict[str, Account] = {}

    def __call__(self, now_us: int, batch: Batch) -> Answers:
        answers = [
            self.accounts.setdefault(each.bucket.id, Account()).exchange(batch, each, now_us)
            for each in batch.statements
        ]
        return Answers(now_us, tuple(answers))
