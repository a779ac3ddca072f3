"""Accounts in memory: for tests, and for one replica that may forget at a restart."""

from penstock.policy.limit.account import Account
from penstock.policy.limit.bucket import Bucket
from penstock.policy.limit.statement import Answers, Batch
from penstock.state.limits.store import Now, steady

SWEEP_US = 60_000_000


class MemoryStore:
    """See LimitStore. `sweep_us`: how often it drops what counts no more."""

    def __init__(self, now: Now | None = None, sweep_us: int = SWEEP_US) -> None:
        self._now = now or steady()
        self._accounts: dict[str, tuple[Bucket, Account]] = {}
        self._sweep_us = sweep_us
        self._sweep_at_us = self._now() + sweep_us

    async def exchange(self, batch: Batch) -> Answers:
        """See LimitStore. Never away."""
        now_us = self._now()
        answers = []
        for statement in batch.statements:
            bucket = statement.bucket
            _, account = self._accounts.get(bucket.id) or (bucket, Account())
            self._accounts[bucket.id] = bucket, account
            answers.append(account.exchange(batch, statement, now_us))
        if now_us >= self._sweep_at_us:
            self._sweep_at_us = now_us + self._sweep_us
            ended = [name for name, (bucket, account) in self._accounts.items() if account.ends_us(bucket) < now_us]
            for name in ended:
                del self._accounts[name]
        return Answers(now_us, tuple(answers))

    async def close(self) -> None:
        """See LimitStore."""
