"""Replicas, workers, clients and a store in virtual time, with a log of what was really used."""

import heapq
import itertools
import random
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from math import inf

import msgspec

from penstock.core.limit import Rule
from penstock.core.tenant import Principal, Tenant
from penstock.policy.limit.account import Account
from penstock.policy.limit.broker import Broker, Replies
from penstock.policy.limit.bucket import Bucket, counted
from penstock.policy.limit.local import UNMETERED, LocalLimits, Plan, Reservation, Short
from penstock.policy.limit.messages import Grants, Wants
from penstock.policy.limit.refusal import Refused
from penstock.policy.limit.statement import Answers, Batch
from penstock.policy.limit.window import slice_of

EPOCH_S = 1_800_000_000.0
"""What the store's clock shows at time 0."""
LEASE_S = 3.0
WAIT_S = 0.05
TICK_S = 0.05
KEY = Principal(Tenant("org", "team", "key"))

Exchange = Callable[[Batch, int], Answers]


class Accounts:
    """A store without I/O."""

    def __init__(self) -> None:
        self.accounts: dict[str, Account] = {}

    def __call__(self, batch: Batch, now_us: int) -> Answers:
        answers = [
            self.accounts.setdefault(each.bucket.id, Account()).exchange(batch, each, now_us)
            for each in batch.statements
        ]
        return Answers(now_us, tuple(answers))


@dataclass
class Entry:
    """What one request has used of one bucket."""

    bucket: Bucket
    at: float
    reserved: int
    actual: int | None = None
    """None while it runs, and when its worker died: it may have used all it had."""
    ended: float | None = None

    @property
    def base(self) -> int:
        """Use that the limit must hold; the rest is the documented excess."""
        return self.reserved if self.actual is None else min(self.reserved, self.actual)


@dataclass
class Line:
    """A socket: messages arrive in order."""

    last: float = 0.0

    def next(self, world: "World") -> float:
        self.last = max(self.last, world.now + world.rng.uniform(1e-4, 2e-3))
        return self.last


@dataclass(eq=False)
class Worker:
    replica: "Replica"
    id: int
    limits: LocalLimits = field(default_factory=LocalLimits)
    waiting: list["Attempt"] = field(default_factory=list)
    running: list["Running"] = field(default_factory=list)
    alive: bool = True
    up: Line = field(default_factory=Line)
    down: Line = field(default_factory=Line)
    plans: dict[tuple[Tenant, str], Plan] = field(default_factory=dict)

    def plan(self, rules: Iterable[Rule], principal: Principal, model: str) -> Plan:
        """Kept, as the gateway keeps them."""
        name = principal.tenant, model
        if name not in self.plans:
            self.plans[name] = self.limits.plan(counted(principal, model, rules))
        return self.plans[name]


@dataclass(eq=False)
class Running:
    worker: Worker
    reservation: Reservation
    entries: list[Entry]


@dataclass(eq=False)
class Attempt:
    """A request at the door."""

    plan: Plan
    amounts: tuple[int, int, int]
    deadline: float
    done: Callable[[Running | Refused], None]
    short: Short


class Replica:
    def __init__(self, world: "World", name: str, workers: int) -> None:
        self.world = world
        self.offset = world.rng.uniform(-1e6, 1e6)
        """Its clock begins anywhere."""
        self.rate = 1 + world.rng.uniform(-1e-4, 1e-4)
        self.broker = Broker(name, LEASE_S)
        self.workers = [Worker(self, number) for number in range(workers)]
        self.alive = True
        self.linked = True
        self.thaws_at = 0.0
        """Nothing of the machine runs before."""
        self.leases: dict[str, float] = {}
        """Bucket -> the store counts what is held here until then."""
        self.under_way = 0
        world.after(0.0, self.tick)

    def clock(self) -> float:
        return self.offset + self.world.now * self.rate

    # -- workers and their supervisor -----------------------------------------------------------------------------

    def frozen(self, event: Callable[[], None]) -> bool:
        """Whether the machine stands still: the event comes when it goes on."""
        if self.world.now < self.thaws_at:
            self.world.at(self.thaws_at, event)
            return True
        return False

    def tick(self) -> None:
        if self.alive and not self.frozen(self.tick):
            for worker in self.workers:
                self.report(worker)
            self.talk()
            self.world.after(TICK_S, self.tick)

    def report(self, worker: Worker) -> None:
        if worker.alive and (wants := worker.limits.wants(self.clock())) is not None:
            sent = msgspec.msgpack.encode(wants)
            self.world.at(worker.up.next(self.world), lambda: self.hear(worker, sent))

    def hear(self, worker: Worker, sent: bytes) -> None:
        if self.alive and worker.alive and not self.frozen(lambda: self.hear(worker, sent)):
            wants = msgspec.msgpack.decode(sent, type=Wants)
            self.tell({worker.id: self.broker.heard(worker.id, wants, self.clock())})
            if self.broker.asked:
                self.talk()

    def tell(self, replies: Replies) -> None:
        for number, grants in replies.items():
            worker, sent = self.workers[number], msgspec.msgpack.encode(grants)

            def arrive(worker: Worker = worker, sent: bytes = sent) -> None:
                if worker.alive and self.alive and not self.frozen(arrive):
                    worker.limits.take(msgspec.msgpack.decode(sent, type=Grants), self.clock())
                    self.world.look_again(worker)

            self.world.at(worker.down.next(self.world), arrive)

    # -- the supervisor and the store -----------------------------------------------------------------------------

    def talk(self) -> None:
        batch = self.broker.batch(self.clock())
        if batch is None:
            return
        world, self.under_way = self.world, self.under_way + 1
        number, began = self.under_way, world.now
        world.after(1.0, lambda: self.give_up(number))
        if self.linked:
            world.after(world.latency(), lambda: self.reach(batch, number, began))
        elif world.rng.random() < 0.5:
            # It may arrive long after its sender has given up.
            world.after(world.rng.uniform(0.0, 40.0), lambda: self.reach(batch, number, began))

    def reach(self, batch: Batch, number: int, began: float) -> None:
        """The batch is at the store; the answer may be lost."""
        world = self.world
        answers = world.exchange(batch, world.store_us())
        if self.linked and self.alive and world.rng.random() >= world.loss:
            world.after(world.latency(), lambda: self.arrive(batch, answers, number, began))

    def arrive(self, batch: Batch, answers: Answers, number: int, began: float) -> None:
        def again() -> None:
            self.arrive(batch, answers, number, began)

        if self.alive and number == self.under_way and not self.frozen(again):
            self.renew(batch, began + LEASE_S)
            self.under_way += 1
            self.tell(self.broker.answered(answers, self.clock()))
            if self.broker.asked:
                self.talk()

    def give_up(self, number: int) -> None:
        if self.alive and number == self.under_way and not self.frozen(lambda: self.give_up(number)):
            self.under_way += 1
            self.tell(self.broker.failed())

    def renew(self, batch: Batch, until: float) -> None:
        """Where a lease had ended, the store may have given to others what still runs: the documented exception."""
        for bucket in [statement.bucket for statement in batch.statements]:
            if self.world.now > self.leases.get(bucket.id, inf):
                for worker in self.workers:
                    for running in worker.running:
                        for entry in running.entries:
                            if entry.bucket.id == bucket.id:
                                self.end(entry)
            self.leases[bucket.id] = until

    def end(self, entry: Entry) -> None:
        """It holds nothing any more: since now, or since its lease ended."""
        lease = self.leases.get(entry.bucket.id, inf)
        entry.ended = max(entry.at, min(self.world.now, lease, inf if entry.ended is None else entry.ended))

    def crash(self) -> None:
        """The machine is gone."""
        self.alive = False
        for worker in self.workers:
            self.lose(worker)

    def lose(self, worker: Worker) -> None:
        worker.alive = False
        for running in worker.running:
            for entry in running.entries:
                self.end(entry)
        worker.running.clear()

    def crash_worker(self, worker: Worker) -> None:
        """Its supervisor knows at once, and starts another."""
        self.lose(worker)
        self.broker.left(worker.id)
        fresh = Worker(self, len(self.workers))
        self.workers.append(fresh)


class World:
    def __init__(self, rules: tuple[Rule, ...], seed: int, exchange: Exchange | None = None) -> None:
        self.rules = rules
        self.rng = random.Random(seed)
        self.now = 0.0
        self.loss = 0.0
        self.slowest = 0.005
        self.exchange: Exchange = Accounts() if exchange is None else exchange
        self.replicas: list[Replica] = []
        self.log: list[Entry] = []
        self.refusals: list[Refused] = []
        self._events: list[tuple[float, int, Callable[[], None]]] = []
        self._order = itertools.count()

    def store_us(self) -> int:
        return int((EPOCH_S + self.now) * 1e6)

    def latency(self) -> float:
        return self.rng.uniform(2e-4, self.slowest)

    def add(self, workers: int) -> Replica:
        replica = Replica(self, f"replica{len(self.replicas)}", workers)
        self.replicas.append(replica)
        return replica

    def workers(self) -> list[Worker]:
        """Those that can answer now."""
        awake = [replica for replica in self.replicas if replica.alive and replica.thaws_at <= self.now]
        return [worker for replica in awake for worker in replica.workers if worker.alive]

    def after(self, delay: float, event: Callable[[], None]) -> None:
        self.at(self.now + delay, event)

    def at(self, when: float, event: Callable[[], None]) -> None:
        heapq.heappush(self._events, (when, next(self._order), event))

    def run(self, until: float) -> None:
        while self._events and self._events[0][0] <= until:
            self.now, _, event = heapq.heappop(self._events)
            event()
        self.now = until

    # -- requests -------------------------------------------------------------------------------------------------

    def arrive(
        self,
        worker: Worker,
        amounts: tuple[int, int, int],
        done: Callable[[Running | Refused], None],
        principal: Principal = KEY,
        model: str = "model",
    ) -> None:
        """A request with (input, output, spend) as estimated. `done` is told whether it runs."""
        plan = worker.plan(self.rules, principal, model)
        result = worker.limits.reserve(plan, worker.replica.clock(), *amounts)
        if isinstance(result, Short):
            attempt = Attempt(plan, amounts, self.now + WAIT_S, done, result)
            worker.waiting.append(attempt)
            worker.replica.report(worker)
            self.after(WAIT_S, lambda: self.time_up(worker, attempt))
        else:
            self.decided(worker, result, done)

    def look_again(self, worker: Worker) -> None:
        for attempt in worker.waiting.copy():
            if attempt.short.answered:
                result = worker.limits.reserve(attempt.plan, worker.replica.clock(), *attempt.amounts)
                if isinstance(result, Short):
                    attempt.short = result
                else:
                    worker.waiting.remove(attempt)
                    self.decided(worker, result, attempt.done)
        worker.replica.report(worker)

    def time_up(self, worker: Worker, attempt: Attempt) -> None:
        if (
            worker.alive
            and not worker.replica.frozen(lambda: self.time_up(worker, attempt))
            and attempt in worker.waiting
        ):
            worker.waiting.remove(attempt)
            clock, number = worker.replica.clock(), attempt.short.number
            result = worker.limits.reserve(attempt.plan, clock, *attempt.amounts, gave_up=number)
            assert not isinstance(result, Short)
            self.decided(worker, result, attempt.done)

    def decided(self, worker: Worker, result: Reservation | Refused, done: Callable[[Running | Refused], None]) -> None:
        if isinstance(result, Refused):
            self.refusals.append(result)
            done(result)
            return
        entries = []
        for share, kind in result.plan.parts:
            amount = result.amounts[kind] if result.special is None else result.special.get(share, result.amounts[kind])
            entry = Entry(share.bucket, self.now, amount)
            entries.append(entry)
            if amount != UNMETERED and not share.rule.shadow and share.rule not in result.opened:
                self.log.append(entry)
        running = Running(worker, result, entries)
        worker.running.append(running)
        done(running)

    def settle(self, running: Running, input_tokens: int, output_tokens: int, spend: int) -> None:
        replica = running.worker.replica
        if running not in running.worker.running or replica.frozen(
            lambda: self.settle(running, input_tokens, output_tokens, spend)
        ):
            return  # its worker died, or stands still
        running.worker.running.remove(running)
        running.worker.limits.settle(running.reservation, input_tokens, output_tokens, spend)
        total = input_tokens + output_tokens
        actual = (1, input_tokens, output_tokens, total, spend, 1, total)
        for (_, kind), entry in zip(running.reservation.plan.parts, running.entries, strict=True):
            entry.actual = actual[kind]
            replica.end(entry)

    # -- what must hold -------------------------------------------------------------------------------------------

    def peak(self, bucket: Bucket) -> int:
        """The most that was used in any window, without the documented excess; for held measures, at any time."""
        entries = sorted((e for e in self.log if e.bucket.id == bucket.id), key=lambda e: e.at)
        if bucket.held:
            changes = [(e.at, 1, e.reserved) for e in entries]
            changes += [(e.ended, 0, -e.reserved) for e in entries if e.ended is not None]
            return max(itertools.accumulate(change for _, _, change in sorted(changes)), default=0)
        if bucket.span is not None:
            used: dict[int, int] = {}
            for entry in entries:
                number = slice_of(bucket, int((EPOCH_S + entry.at) * 1e6))
                used[number] = used.get(number, 0) + entry.base
            return max(used.values(), default=0)
        most = total = first = 0
        for entry in entries:
            total += entry.base
            while entries[first].at <= entry.at - bucket.window_us / 1e6:
                total -= entries[first].base
                first += 1
            most = max(most, total)
        return most

    def check(self) -> None:
        """No limit was exceeded by more than its bound."""
        for bucket in {entry.bucket.id: entry.bucket for entry in self.log}.values():
            assert self.peak(bucket) <= bucket.limit, bucket

    def check_nothing_leaks(self) -> None:
        """When all has ended and been reported, nobody holds anything."""
        for replica in self.replicas:
            if replica.alive:
                assert not any(use.here for use in replica.broker.uses()), replica.broker.uses()
        if isinstance(self.exchange, Accounts):
            for name, account in self.exchange.accounts.items():
                held = [each for each in account.holdings.values() if each.expires_us > self.store_us() and each.amount]
                assert not held, (name, account)
