"""A replica in real time: a keeper with workers that reserve as the gateway does."""

import asyncio
import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import msgspec

from penstock.core.clock import monotonic
from penstock.core.limit import Measure, Rule
from penstock.core.tasks import Tasks
from penstock.core.tenant import Principal, Tenant
from penstock.policy.limit.broker import Broker
from penstock.policy.limit.bucket import counted
from penstock.policy.limit.local import SCAN_S, LocalLimits, Plan, Reservation, Short
from penstock.policy.limit.messages import Grants, Wants
from penstock.policy.limit.refusal import Refused
from penstock.state.limits.keeper import Keeper
from penstock.state.limits.store import LimitStore

WAIT_S = 0.05
LEASE_S = 3.0
MINUTE = 60.0


def rule(limit: int, *, fail_open: bool = False, window_s: float = MINUTE) -> Rule:
    return Rule("tokens", Measure.TOTAL_TOKENS, limit, window_s=window_s, fail_open=fail_open)


class Worker:
    """One process of the data path."""

    def __init__(self, number: int, replica: "Replica", rules: tuple[Rule, ...], key: str) -> None:
        self.number = number
        self.replica = replica
        self.limits = LocalLimits()
        self.plan: Plan = self.limits.plan(counted(Principal(Tenant(key=key)), "m", rules))
        self.news = asyncio.Event()

    def report(self) -> None:
        wants = self.limits.wants(monotonic())
        if wants is not None:
            self.replica.keeper.heard(self.number, msgspec.msgpack.decode(msgspec.msgpack.encode(wants), type=Wants))

    def told(self, grants: Grants) -> None:
        self.limits.take(grants, monotonic())
        self.news.set()
        self.news = asyncio.Event()

    async def reserve(self, input_tokens: int, output_tokens: int = 0) -> Reservation | Refused:
        result = self.limits.reserve(self.plan, monotonic(), input_tokens, output_tokens)
        deadline = monotonic() + self.replica.wait_s
        number = 0
        while isinstance(result, Short):
            number = result.number
            self.report()
            while not result.answered and monotonic() < deadline:
                try:
                    async with asyncio.timeout(deadline - monotonic()):
                        await self.news.wait()
                except TimeoutError:
                    break
            gave_up = number if monotonic() >= deadline else 0
            result = self.limits.reserve(self.plan, monotonic(), input_tokens, output_tokens, 0, gave_up)
        return result


class Replica:
    def __init__(self, store: LimitStore, rules: tuple[Rule, ...], key: str, workers: int) -> None:
        self.wait_s = WAIT_S
        self.keeper = Keeper(Broker(secrets.token_hex(4), LEASE_S), store, self.tell)
        self.workers = {number: Worker(number, self, rules, key) for number in range(workers)}

    def tell(self, number: int, grants: Grants) -> None:
        if number in self.workers:
            sent = msgspec.msgpack.encode(grants)
            self.workers[number].told(msgspec.msgpack.decode(sent, type=Grants))

    def kill(self, number: int) -> None:
        del self.workers[number]
        self.keeper.left(number)

    async def mended(self) -> None:
        """The store answers again."""
        for _ in range(500):
            if not self.keeper.problem:
                return
            await asyncio.sleep(0.02)
        raise TimeoutError(self.keeper.problem)

    async def scan(self) -> None:
        while True:
            for worker in list(self.workers.values()):
                worker.report()
            await asyncio.sleep(SCAN_S)


@asynccontextmanager
async def running(
    store: LimitStore, *rules: Rule, key: str = "key", workers: int = 1, tidy: bool = True
) -> AsyncIterator[Replica]:
    """A replica at work. Not `tidy`: it ends as by a crash, and the store is left open."""
    replica, tasks = Replica(store, rules, key, workers), Tasks()
    tasks.spawn(replica.keeper.run())
    tasks.spawn(replica.scan())
    try:
        yield replica
    finally:
        for worker in replica.workers.values():
            worker.limits._scan_at = 0.0
            worker.report()
        await tasks.cancel()
        if tidy:
            for number in list(replica.workers):
                replica.kill(number)
            await replica.keeper.close()
