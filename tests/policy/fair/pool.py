"""Engines, tenants and their requests in virtual time, with everything that is charged on record."""

import heapq
from collections.abc import Iterator
from itertools import count
from math import inf

import msgspec

from penstock.policy.admission import AdmissionQueue, AdmissionSettings, Admitted, Claim, Queued
from penstock.policy.fair import FairOrder, FairSettings, Served, Shares, Turn

ENGINES = ("e0", "e1")


class Job(msgspec.Struct, frozen=True):
    """One request: what is expected of it and what it turns out to be."""

    tenant: int
    at: float
    guessed: int
    """Input tokens, expected."""
    read: int
    cached: int
    written: int
    seconds: float
    told: int = 0
    """How often its output so far is charged before its end."""
    priority: int = 0
    line: int = 0
    """Queue it is put into; all are for the same engines."""


class Stay(msgspec.Struct):
    """What became of a job."""

    job: Job
    turn: Turn | None = None
    started: float = inf
    ended: float = inf
    most: float = 0.0
    """The most it was charged."""

    @property
    def charged(self) -> float:
        return 0.0 if self.turn is None else self.turn.charged


class Moment(msgspec.Struct, frozen=True):
    """How things stood after something happened. A flow is a tenant in a priority."""

    now: float
    service: dict[tuple[int, int], float]
    """Flow -> all that it was charged."""
    oldest: dict[tuple[int, int], int]
    """Flow that waits -> number of the job that is its next."""
    waiting: int
    running: int


class Start(msgspec.Struct, frozen=True):
    """A job that started, and what waited then (itself included): priority -> since when passed over."""

    now: float
    number: int
    passed: dict[int, float]
    counter: float
    """Its tenant's, before it was charged."""
    others: dict[int, float]
    """Tenants that waited in its priority -> their counters."""


class Pool:
    """`slots` requests at once, from queues that share one set of counters."""

    def __init__(self, jobs: list[Job], weights: list[float], slots: int, *, lines: int = 1, aging: float = 10.0):
        self.settings = FairSettings(aging=aging)
        self.weights = weights
        self.slots = slots
        self.stays = [Stay(job) for job in jobs]
        self.moments: list[Moment] = []
        self.starts: list[Start] = []
        shares = Shares()
        self.orders = [FairOrder(self.settings, shares) for _ in range(lines)]
        self.queues = [AdmissionQueue(AdmissionSettings(1_000_000, longest=1e8), order) for order in self.orders]
        self._shares = shares
        for order in self.orders:
            order.engines = order.free = ENGINES
        self._running = 0
        self._service: dict[tuple[int, int], float] = {}
        self._waiting: dict[tuple[int, int], dict[int, None]] = {}
        self._passed: dict[int, float] = {}
        self._numbers = count()

    def run(self) -> "Pool":
        """Plays everything to its end."""
        events: list[tuple[float, int, int, int]] = []
        for number, stay in enumerate(self.stays):
            heapq.heappush(events, (stay.job.at, next(self._numbers), number, -1))
        while events:
            now, _, number, step = heapq.heappop(events)
            started = self._arrive(number, now) if step < 0 else self._go_on(number, step, now)
            for each in started:
                job = self.stays[each].job
                for told in range(1, job.told + 2):
                    at = now + job.seconds * told / (job.told + 1)
                    heapq.heappush(events, (at, next(self._numbers), each, told))
        return self

    def _arrive(self, number: int, now: float) -> list[int]:
        job = self.stays[number].job
        prices = self.settings.prices
        claim = Claim(
            str(job.tenant),
            self.weights[job.tenant],
            prices.cost(job.guessed, 0),
            prices.cost(job.guessed, job.written),
        )
        answer = self.queues[job.line].offer(
            str(number),
            now,
            room=0 if any(self.queues) else self.slots - self._running,
            tokens=job.guessed + job.written,
            priority=job.priority,
            claim=claim,
        )
        flow = (job.tenant, job.priority)
        if isinstance(answer, Admitted):
            self._begin(number, now, {}, {})
            self._note(now)
            return [number]
        assert isinstance(answer, Queued)
        assert not answer.displaced
        if not any(priority == job.priority for _, priority in self._waiting):
            self._passed[job.priority] = now
        self._waiting.setdefault(flow, {})[number] = None
        self._note(now)
        return list(self._fill(now))

    def _go_on(self, number: int, step: int, now: float) -> list[int]:
        stay = self.stays[number]
        job, turn = stay.job, stay.turn
        assert turn is not None
        before = turn.charged
        if step <= job.told:
            turn.charge(job.written * step // (job.told + 1))
            turn.charge(job.written * step // (job.told + 1))  # the same report again changes nothing
        else:
            turn.charge(job.written, job.read, job.cached)
        self._charged(stay, turn.charged - before)
        if step <= job.told:
            self._note(now)
            return []
        turn.end()
        turn.end()
        stay.ended = now
        self._running -= 1
        self.queues[job.line].completed(1, now)
        self._note(now)
        return list(self._fill(now))

    def _fill(self, now: float) -> Iterator[int]:
        """Starts whoever can, one at a time."""
        while self._running < self.slots and any(self.queues):
            standings = [(standing, n) for n, q in enumerate(self.queues) if (standing := q.standing(now)) is not None]
            queue = self.queues[min(standings)[1]]
            counters = {flow: self.counter(*flow) for flow in self._waiting}
            (key,) = queue.take(1, now)
            number = int(key)
            job = self.stays[number].job
            others = {tenant: value for (tenant, priority), value in counters.items() if priority == job.priority}
            passed = {priority: self._passed[priority] for _, priority in self._waiting}
            flow = (job.tenant, job.priority)
            del self._waiting[flow][number]
            if not self._waiting[flow]:
                del self._waiting[flow]
            self._begin(number, now, passed, others)
            self._note(now)
            yield number

    def _begin(self, number: int, now: float, passed: dict[int, float], others: dict[int, float]) -> None:
        stay = self.stays[number]
        job = stay.job
        claim = Claim(str(job.tenant), self.weights[job.tenant])
        counters, account = self.orders[job.line].account(job.priority, claim)
        at_start = self.settings.prices.cost(job.guessed, 0)
        stay.turn = Turn(counters, account, self.settings.prices, Served(), job.guessed, at_start)
        stay.started = now
        self._running += 1
        self._passed[job.priority] = now
        before = others.get(job.tenant, account.counter - at_start / self.weights[job.tenant])
        self.starts.append(Start(now, number, passed, before, others))
        self._charged(stay, at_start)

    def _charged(self, stay: Stay, cost: float) -> None:
        flow = (stay.job.tenant, stay.job.priority)
        self._service[flow] = self._service.get(flow, 0.0) + cost
        stay.most = max(stay.most, stay.charged)

    def _note(self, now: float) -> None:
        oldest = {flow: next(iter(numbers)) for flow, numbers in self._waiting.items()}
        waiting = sum(map(len, self._waiting.values()))
        self.moments.append(Moment(now, dict(self._service), oldest, waiting, self._running))
        assert waiting == sum(map(len, self.queues))

    def counter(self, tenant: int, priority: int = 0) -> float:
        return self._shares.of(priority).account(str(tenant), self.weights[tenant]).counter

    # -- what the bound is made of ----------------------------------------------------------------------------------

    def parts(self, *flows: tuple[int, int]) -> tuple[float, float, float]:
        """a, b, r: most charged at a start, after it, and given back, of any request of these flows."""
        prices = self.settings.prices
        own = [stay for stay in self.stays if (stay.job.tenant, stay.job.priority) in flows]
        at_start = [prices.cost(stay.job.guessed, 0) for stay in own]
        after = [max(0.0, stay.most - first) for stay, first in zip(own, at_start, strict=True)]
        back = [max(0.0, stay.most - stay.charged) for stay in own]
        return max(at_start), max(after), max(back)

    def bound(self, one: tuple[int, int], other: tuple[int, int]) -> float:
        """The formula of `policy.fair.order`."""
        a, b, r = self.parts(one, other)
        return (a + self.slots * (b + r)) * (1 / self.weights[one[0]] + 1 / self.weights[other[0]])
