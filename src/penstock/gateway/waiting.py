"""Requests that wait until an engine of theirs has room. `policy.admission` says whether they may, `policy.fair` who is
first; this wakes and tells them."""

import itertools
from collections import deque
from collections.abc import Iterable, Sequence
from math import inf
from typing import NamedTuple

import msgspec

from penstock.config.routing import Queue
from penstock.core.clock import monotonic
from penstock.core.endpoint import Endpoint
from penstock.core.errors import Overloaded, RequestError
from penstock.core.tenant import Principal
from penstock.gateway.life import Wait
from penstock.gateway.relay import Relay
from penstock.gateway.view import FleetView
from penstock.policy.admission import NOBODY, AdmissionQueue, AdmissionSettings, Claim, Outcome, Queued, Rejected
from penstock.policy.fair import (
    Backlog,
    FairOrder,
    FairSettings,
    Prices,
    Served,
    Shares,
    Turn,
    rivals,
)
from penstock.policy.resilience.advice import AGAIN
from penstock.policy.route.facts import Ask

CODES = {Outcome.REJECTED_CAPACITY: "queue_full", Outcome.REJECTED_DEADLINE: "deadline_unmeetable"}
Place = tuple[str, str]
"""Model and pool."""


class Party(NamedTuple):
    """For whom a request is."""

    tenant: str = ""
    weight: float = 1.0


class Share(msgspec.Struct):
    """One tenant, as one worker saw it. What is of service is as in Served."""

    tenant: str
    weight: float = 1.0
    cost: float = 0.0
    backlog_s: float = 0.0
    backlog_cost: float = 0.0
    waiting: int = 0
    """Requests."""
    waits: list[float] = []
    """Seconds, of requests that started lately."""


class News(NamedTuple):
    """What has come to one tenant since it was last told."""

    tenant: str
    at_once: int
    """Requests that did not have to wait."""
    waits: list[float]
    """Seconds, of those that had to."""
    cost: float
    backlog_s: float


LATELY_S = 60.0
STARTED = 1000
"""Starts remembered, for how long tenants waited lately."""

ANYBODY = Party()
"""For where there are no tenants."""


def fair_settings(queue: Queue) -> FairSettings:
    """How tenants share, from the config."""
    return FairSettings(Prices(output=queue.output_price, cached=queue.cached_price), queue.aging)


def party_of(principal: Principal) -> Party:
    """Keys of one team share its part; a key without a team has one of its own."""
    tenant = principal.tenant
    if tenant.org:
        return Party(f"{tenant.org}/{tenant.team}" if tenant.team else tenant.org, principal.weight)
    return Party(tenant.key, principal.weight) if tenant.key else ANYBODY


class _Line:
    """One queue, the engines it waits for, and what its waiters await."""

    __slots__ = ("engines", "order", "place", "pool", "queue", "rivals", "waits")

    def __init__(self, place: Place, pool: str, settings: AdmissionSettings, order: FairOrder) -> None:
        self.place = place
        self.pool = pool
        """Whose engines it waits for; empty for those of all pools."""
        self.order = order
        self.queue = AdmissionQueue(settings, order)
        self.engines: Sequence[Endpoint] = ()
        self.rivals: list[_Line] = [self]
        """The lines that compete for the same engines, this one included."""
        self.waits: dict[str, Wait[RequestError | None]] = {}

    @property
    def contended(self) -> bool:
        """Whether somebody waits for these engines."""
        for rival in self.rivals:  # noqa: SIM110 - on the way of every request, and half the cost of any()
            if rival.waits:
                return True
        return False


class Waiting:
    """One queue per model and pool, made when a request first finds all its engines bounded. Those that compete for
    engines share their counters, and whoever is first among all of them starts."""

    def __init__(self, settings: Queue, fleet: FleetView, fair: FairSettings | None = None) -> None:
        self._settings = AdmissionSettings(requests=settings.size, longest=settings.max_wait)
        self._max_wait_s = settings.max_wait
        self._fair = FairSettings() if fair is None else fair
        self._fleet = fleet
        self._lines: dict[Place, _Line] = {}
        self.used = False
        """Whether a request has ever found all of its engines bounded."""
        self._keys = itertools.count()
        self._served: dict[tuple[str, str], Served] = {}
        self._backlog = Backlog()
        self._started: deque[tuple[float, str, float, float]] = deque(maxlen=STARTED)
        """(when, tenant, weight, wait in seconds) of the last requests that started."""
        self._waits: dict[str, list[float]] = {}
        self._told: dict[str, Served] = {}
        """Tenant -> what `news` has told of it."""

    def at_once(self, ask: Ask, model: str, engines: Sequence[Endpoint], party: Party) -> Turn | None:
        """The turn of a request that finds room and nobody waiting for it; None for one that has to `enter`."""
        line = self._lines.get((model, engines[0].pool))
        now = monotonic()
        if line is None or engines is not line.engines or line.contended or not self._room_in(engines, now):
            return None
        tenant, weight = party
        read, written, prices = ask.prompt_tokens, ask.output_tokens, self._fair.prices
        at_start = prices.input * read
        counters, account = line.order.begin(ask.priority, tenant, weight, at_start, now)
        self._started.append((now, tenant, weight, 0.0))
        served = self._of(line, tenant)
        served.started += 1
        return Turn(counters, account, prices, served, read, at_start, written)

    def has_room(self, model: str, engines: Sequence[Endpoint]) -> bool:
        """Whether a request for a model would start at once on one of `engines`, which are of one pool."""
        line = self._lines.get((model, engines[0].pool))
        return (line is None or not line.contended) and self._room_in(engines, monotonic())

    async def enter(
        self,
        relay: Relay,
        ask: Ask,
        model: str,
        engines: Sequence[Endpoint],
        patience_s: float,
        party: Party = ANYBODY,
    ) -> Turn:
        """Returns when the request may start: its turn, which the caller ends when the request has ended.

        Raises Overloaded when it may not wait, or waited in vain. `patience_s`: how long its client will; infinity when
        it did not say. The expected input is charged to the tenant now, or when it starts.
        """
        line = self._line(model, ask.pool, engines)
        key, now = str(next(self._keys)), monotonic()
        claim = self._claim(ask, party)
        room = self._room(engines)
        if room > 0 and line.contended:  # who waits is not overtaken
            self._start(line.rivals, now)
            room, line.order.free = self._room(engines), self._free(engines)
        answer = line.queue.offer(
            key,
            now,
            room=room,
            tokens=ask.prompt_tokens + ask.output_tokens,
            priority=ask.priority,
            deadline=now + patience_s,
            claim=claim,
        )
        if isinstance(answer, Rejected):
            raise overloaded(answer.reason, CODES[answer.outcome], answer.retry_after_s)
        waited = 0.0
        if isinstance(answer, Queued):
            wait: Wait[RequestError | None] = Wait()
            line.waits[key] = relay.queued = wait
            for loser in answer.displaced:
                line.waits.pop(loser).set(_displaced())
            refused = await wait
            relay.queued = None
            waited = monotonic() - now
            relay.queue_s += waited  # it may have waited for another pool or model before
            if refused is not None:
                if line.waits.pop(key, None) is not None:
                    line.queue.cancel(key, monotonic())
                raise refused
        self._started.append((now + waited, party.tenant, party.weight, waited))
        counters, account = line.order.account(ask.priority, claim)
        served = self._of(line, party.tenant)
        served.started += 1
        if waited:
            self._waits.setdefault(party.tenant, []).append(waited)
        return Turn(counters, account, self._fair.prices, served, ask.prompt_tokens, claim.at_start, ask.output_tokens)

    def ended(self, tokens: int, engine: str = "") -> None:
        """A request has ended there, and has been charged: whoever has room now starts. Without an engine's name: it
        may have been any."""
        for line in self._lines.values():
            if line.waits:
                break
        else:
            return
        now = monotonic()
        for group in self._groups():
            for line in group:
                if line.waits and (not engine or engine in line.order.engines):
                    line.queue.completed(tokens, now)
            self._start(group, now)

    def sweep(self, now: float) -> None:
        """Starts who can, and turns away who waited too long. Engines may have come since."""
        for line in list(self._lines.values()):  # who is turned away may join another
            if line.waits:
                for key in line.queue.expired(now):
                    reason = f"No engine had room within queue.max_wait ({self._max_wait_s:g} s) or the client's own."
                    line.waits.pop(key).set(overloaded(reason, "queue_timeout", self._max_wait_s))
                self._see(line, self._serving(line.place[0], line.pool))
        for group in self._groups():
            self._start(group, now)
        self._count_backlog(now)

    def drain(self, now: float) -> None:
        """Turns everybody away: the gateway stops."""
        for line in list(self._lines.values()):
            for key in line.queue.drain(now):
                reason = "The gateway is stopping; another will take the request."
                line.waits.pop(key).set(overloaded(reason, "queue_full", 1.0))

    def depths(self) -> dict[Place, int]:
        """(model, pool) -> requests that wait."""
        return {place: len(line.queue) for place, line in self._lines.items()}

    @property
    def lines(self) -> list[_Line]:
        """The queues, with their orders."""
        return list(self._lines.values())

    @property
    def served(self) -> dict[tuple[str, str], Served]:
        """(pool, tenant) -> service since the worker started. Sums over workers are right."""
        return self._served

    def news(self) -> list[News]:
        """What has come to tenants since the last call, for metrics."""
        totals: dict[str, Served] = {}
        for (_, tenant), served in self._served.items():
            total = totals.setdefault(tenant, Served())
            total.cost += served.cost
            total.backlog_s += served.backlog_s
            total.started += served.started
        found = []
        for tenant, total in totals.items():
            told = self._told.setdefault(tenant, Served())
            if total == told:
                continue
            waits = self._waits.pop(tenant, [])
            cost = max(total.cost, told.cost)  # what was charged too much is taken back: a counter waits for it
            news = News(
                tenant,
                total.started - told.started - len(waits),
                waits,
                cost - told.cost,
                total.backlog_s - told.backlog_s,
            )
            told.cost, told.backlog_s, told.started = cost, total.backlog_s, total.started
            found.append(news)
        return found

    def shares(self, now: float) -> list[Share]:
        """What each tenant got since the worker started, waits for now, and waited lately."""
        found: dict[str, Share] = {}
        for (_, tenant), served in self._served.items():
            share = found.setdefault(tenant, Share(tenant))
            share.cost += served.cost
            share.backlog_s += served.backlog_s
            share.backlog_cost += served.backlog_cost
        for line in self._lines.values():
            for tenant, count, weight in line.order.waiting():
                share = found.setdefault(tenant, Share(tenant))
                share.waiting += count
                share.weight = weight
        for at, tenant, weight, wait_s in self._started:
            if at > now - LATELY_S:
                share = found.setdefault(tenant, Share(tenant))
                share.weight = weight
                share.waits.append(wait_s)
        return list(found.values())

    def explain(self) -> list[dict[str, object]]:
        """For people."""
        now = monotonic()
        return [
            {"model": line.place[0], "pool": line.place[1], **line.queue.explain(now), "tenants": line.order.explain()}
            for line in self._lines.values()
        ]

    # -- tenants ----------------------------------------------------------------------------------------------------

    def _claim(self, ask: Ask, party: Party) -> Claim:
        if party is ANYBODY:
            return NOBODY
        prices = self._fair.prices
        at_start = prices.cost(ask.prompt_tokens, 0)
        return Claim(party.tenant, party.weight, at_start, at_start + prices.cost(0, ask.output_tokens))

    def _of(self, line: _Line, tenant: str) -> Served:
        """What the tenant has been served in the line's pool."""
        place = (line.place[1], tenant)
        served = self._served.get(place)
        if served is None:
            served = self._served[place] = Served()
        return served

    def _count_backlog(self, now: float) -> None:
        """Adds up who waited since the last look, and what they got meanwhile."""
        waiting: dict[tuple[str, str], float] = {}
        for line in self._lines.values():
            if line.waits:
                for tenant, weight in line.order.tenants().items():
                    waiting[line.place[1], tenant] = weight
        self._backlog.look(now, waiting, self._served)

    # -- lines ------------------------------------------------------------------------------------------------------

    def _line(self, model: str, pool: str, engines: Sequence[Endpoint]) -> _Line:
        place = (model, engines[0].pool)
        line = self._lines.get(place)
        if line is None:
            line = self._lines[place] = _Line(place, pool, self._settings, FairOrder(self._fair, Shares()))
            self.used = True
        self._see(line, engines)
        return line

    def _see(self, line: _Line, engines: Sequence[Endpoint]) -> None:
        """Its engines now. Where they are others than before, who competes with whom may have changed."""
        if engines is line.engines:
            return
        line.engines = engines
        names = tuple([engine.name for engine in engines])
        if names != line.order.engines and names:  # a line that nothing serves keeps its place
            line.order.engines = line.order.free = names
            self._regroup()

    def _regroup(self) -> None:
        """Lines that compete get one set of counters: that of the first of them, unless another group has it."""
        taken: set[int] = set()
        for group in rivals({place: line.order.engines for place, line in self._lines.items()}):
            lines = [self._lines[place] for place in group]
            shares = lines[0].order.shares
            if id(shares) in taken:
                shares = Shares()
            taken.add(id(shares))
            for line in lines:
                line.rivals = lines
                if line.order.shares is not shares:
                    line.order.move(shares)

    def _groups(self) -> Iterable[list[_Line]]:
        """Lines that compete, in lists; only where somebody waits."""
        seen: set[int] = set()
        for line in list(self._lines.values()):
            if line.waits and id(line.rivals) not in seen:
                seen.add(id(line.rivals))
                yield line.rivals

    def _start(self, group: Sequence[_Line], now: float) -> None:
        # One at a time: each takes its place before the next is counted.
        while (line := self._first(group, now)) is not None:
            taken = line.queue.take(1, now)
            if not taken:
                return
            line.waits.pop(taken[0]).set(None)

    def _first(self, group: Sequence[_Line], now: float) -> _Line | None:
        """The line whose next is to start; None when none has room."""
        best: _Line | None = None
        least: tuple[float, ...] = ()
        for line in group:
            if not line.waits or self._room(line.engines) <= 0:
                continue
            standing = line.queue.standing(now)
            if standing is not None and (best is None or standing < least):
                best, least = line, standing
        if best is not None:
            best.order.free = self._free(best.engines)
        return best

    def _serving(self, model: str, pool: str) -> Sequence[Endpoint]:
        try:
            return self._fleet.serving(model or None, pool)
        except RequestError:
            return ()

    def _room_in(self, engines: Sequence[Endpoint], now: float) -> bool:
        """Whether `_room` is above 0."""
        may_use, room = self._fleet.may_use, self._fleet.router.room
        for engine in engines:
            if may_use(engine.name, now) and (not engine.max_in_flight or room(engine.name, now) > 0):
                return True
        return False

    def _room(self, engines: Sequence[Endpoint]) -> int:
        """Requests that could start now; where an engine without a bound has come, one at a time."""
        now = monotonic()
        usable = self._fleet.usable(engines, now)
        if not bounded(usable):
            return 1
        room = self._fleet.router.room
        return sum([room(engine.name, now) for engine in usable])

    def _free(self, engines: Sequence[Endpoint]) -> list[str]:
        """Names of the engines with room."""
        now, room = monotonic(), self._fleet.router.room
        usable = self._fleet.usable(engines, now)
        return [each.name for each in usable if not each.max_in_flight or room(each.name, now)]


def bounded(engines: Sequence[Endpoint]) -> bool:
    """Whether all engines can be full at once; where one has no bound, nobody ever waits."""
    for engine in engines:  # noqa: SIM110 - on the way of every request, and half the cost of all()
        if not engine.max_in_flight:
            return False
    return True


def patience(stated: bytes) -> float:
    """Seconds a client will wait, from the read timeout that OpenAI's SDKs send along; infinity without."""
    try:
        seconds = float(stated) if stated else inf
    except ValueError:
        return inf
    return seconds if seconds > 0 else inf


def _displaced() -> Overloaded:
    reason = "The queue was full and a request of higher priority, or of a tenant with fewer waiting, came."
    return overloaded(reason, "displaced", 2.0)


def overloaded(reason: str, code: str, retry_after_s: float) -> Overloaded:
    """With the word on whether to come again that SDKs obey: not where the same patience would end the same way."""
    error = Overloaded(reason, code=code, retry_after_s=retry_after_s)
    error.retry = code in AGAIN
    return error
