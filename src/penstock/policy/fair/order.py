"""The order of a queue that is shared by tenants: priority, then fair by tokens, then first come first served.

**Between priorities.** The one with the greatest standing is served next:

    standing = priority + (seconds since it last started one, or began to wait) / aging

So a level of priority is worth `aging` seconds. Once a priority p has been passed over for (q - p) * aging seconds,
priority q starts at most one more request before p starts one.

**Inside a priority.** The tenant with the least counter goes first (see `counters`), whatever it or others have waited:
a long queue is no claim. With at most C requests running at once, every request of the two tenants costing at most `a`
at its start (the expected input), at most `b` after it (output, and input that was underestimated), and at most `r` of
it being given back (input that was overestimated, or was cached), their service S over any time in which both wait
without a break, in the same priority of the same engines, differs by at most

    | S_i / w_i  -  S_j / w_j |  <=  (a + C * (b + r)) * (1 / w_i + 1 / w_j)

S is what is charged; a running request's true cost is known when it ends. Why it holds: when i starts, its counter is
the least, and it gains at most D_i = (a + C b) / w_i from there until it is looked at again, while who waits falls at
most R_j = C r / w_j below the level. So c_i - c_j <= D_i + R_j at any moment, and c_j - c_i <= D_j + R_i; the
difference of service is the change of c_i - c_j from one moment to another, at most the sum of both. (Theorem 4.4 of
the paper has the same form: 2 max(w_p L_input, w_q M), where M tokens fit into a batch, all weights are 1 and nothing
is given back.) It does not grow with time, so nobody who waits starves.

**When the queue is full**, lower priorities go home first; then the tenant whose youngest request would be served last,
at counter + (expected cost of all that it has waiting) / weight, if that is later than the newcomer would be.
"""

from collections import OrderedDict
from collections.abc import Iterator, Sequence
from heapq import heapify, heappop, heappush, heapreplace, merge
from math import inf
from operator import itemgetter
from typing import Annotated, TypeAlias

import msgspec
from msgspec import Meta

from penstock.policy.admission.order import Claim, Waiter
from penstock.policy.fair.counters import Account, Counters, Shares
from penstock.policy.fair.prices import Prices

Standing: TypeAlias = tuple[float, int, float, float]


class FairSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How tenants share what is busy."""

    prices: Annotated[Prices, Meta(description="What a token counts")] = Prices()
    aging: Annotated[
        float, Meta(ge=0, le=86400, description="Seconds of being passed over that make up for a level; 0: none do")
    ] = 10.0


class _Flow:
    """The waiters of one tenant in one priority of one queue."""

    __slots__ = ("account", "band", "cost", "engines", "stamp", "waiters", "weight")

    def __init__(self, account: Account, band: "_Band", engines: Sequence[str]) -> None:
        self.account = account
        self.band = band
        self.engines = engines
        self.weight = account.weight
        """As it was when the flow began."""
        self.waiters: OrderedDict[str, Waiter] = OrderedDict()
        self.cost = 0.0
        """Expected, of all that wait."""
        self.stamp = 0
        """Of its entry in the heap; others with another stamp are void."""

    @property
    def first(self) -> Waiter:
        """The oldest."""
        return next(iter(self.waiters.values()))

    @property
    def since(self) -> float:
        """When that began to wait."""
        return self.first.since

    def lowered(self) -> None:
        """See `counters.Waits`."""
        self.band.push(self)


_Entry: TypeAlias = tuple[float, float, int, _Flow]


class _Band:
    """One priority of one queue."""

    __slots__ = ("_heap", "_stamps", "cost", "counters", "flows", "priority", "requests", "tokens", "weight")

    def __init__(self, priority: int, counters: Counters) -> None:
        self.priority = priority
        self.counters = counters
        self.flows: dict[str, _Flow] = {}
        self.requests = 0
        self.tokens = 0
        self.cost = 0.0
        self.weight = 0.0
        """Of the tenants that wait."""
        self._heap: list[_Entry] = []
        """Least counter first, among equals the oldest. Both may have risen since; the first entry is put right when it
        is looked at."""
        self._stamps = 0

    def push(self, flow: _Flow) -> None:
        heappush(self._heap, self._entry(flow))
        if len(self._heap) > 4 * len(self.flows) + 16:
            self._heap = [entry for entry in self._heap if entry[2] == entry[3].stamp]
            heapify(self._heap)

    def _entry(self, flow: _Flow) -> _Entry:
        self._stamps = flow.stamp = self._stamps + 1
        return flow.account.counter, flow.since, flow.stamp, flow

    def first(self) -> _Flow:
        """The flow of the tenant with the least counter. The band must not be empty."""
        heap = self._heap
        while True:
            counter, since, stamp, flow = heap[0]
            if stamp != flow.stamp:
                heappop(heap)
            elif counter != flow.account.counter or since != flow.since:
                heapreplace(heap, self._entry(flow))
            else:
                return flow

    def standing(self, now: float, aging: float) -> float:
        passed_s = now - self.counters.passed
        return self.priority + passed_s / aging if aging and passed_s > 0 else float(self.priority)


class FairOrder:
    """An Order (see `admission.order`). Queues that compete for engines are given the same `shares`."""

    def __init__(self, settings: FairSettings, shares: Shares) -> None:
        self._aging = settings.aging
        self._shares = shares
        self._bands: dict[int, _Band] = {}
        self.engines: Sequence[str] = ()
        """The engines that this queue's requests can use; the caller keeps it right."""
        self.free: Sequence[str] = ()
        """Those of them that the next to start may go to; the caller keeps it right where it matters."""

    @property
    def shares(self) -> Shares:
        """The counters it follows."""
        return self._shares

    def account(self, priority: int, claim: Claim) -> tuple[Counters, Account]:
        """Where a tenant's requests of that priority are charged."""
        counters = self._shares.of(priority)
        return counters, counters.account(claim.tenant, claim.weight)

    def add(self, waiter: Waiter) -> None:
        """See Order."""
        band = self._bands.get(waiter.priority)
        if band is None:
            band = self._bands[waiter.priority] = _Band(waiter.priority, self._shares.of(waiter.priority))
        tenant = waiter.claim.tenant
        flow = band.flows.get(tenant)
        if flow is None:
            self._begin(band, waiter)
        else:
            flow.waiters[waiter.key] = waiter
            flow.cost += waiter.cost
        band.requests += 1
        band.tokens += waiter.tokens
        band.cost += waiter.cost

    def _begin(self, band: _Band, waiter: Waiter) -> None:
        counters, account = self.account(waiter.priority, waiter.claim)
        if all(each.engines != self.engines for each in account.waits):
            counters.lift(account, self.engines)
        if not counters.waiting:
            counters.passed = waiter.since
        counters.waiting += 1
        flow = band.flows[account.tenant] = _Flow(account, band, self.engines)
        flow.waiters[waiter.key] = waiter
        flow.cost = waiter.cost
        account.waits.append(flow)
        band.weight += flow.weight
        band.push(flow)

    def remove(self, waiter: Waiter) -> None:
        """See Order."""
        band = self._bands[waiter.priority]
        flow = band.flows[waiter.claim.tenant]
        del flow.waiters[waiter.key]
        flow.cost -= waiter.cost
        band.requests -= 1
        band.tokens -= waiter.tokens
        band.cost -= waiter.cost
        if not flow.waiters:
            del band.flows[waiter.claim.tenant]
            flow.stamp = 0
            flow.account.waits.remove(flow)
            band.counters.waiting -= 1
            band.weight -= flow.weight
            if not band.flows:
                del self._bands[waiter.priority]

    def started(self, waiter: Waiter, now: float) -> None:
        """See Order: charges the expected input."""
        claim = waiter.claim
        self.begin(waiter.priority, claim.tenant, claim.weight, claim.at_start, now)

    def begin(self, priority: int, tenant: str, weight: float, at_start: float, now: float) -> tuple[Counters, Account]:
        """A request begins to be served: charges the expected input, and says where the rest is to be charged."""
        counters = self._shares.of(priority)
        account = counters.account(tenant, weight)
        counters.begin(account, self.engines, self.free, at_start, now)
        return counters, account

    def _best(self, now: float) -> tuple[float, _Band] | None:
        """The band to serve, and its standing."""
        aging, best, found = self._aging, 0.0, None
        for band in self._bands.values():
            standing = band.standing(now, aging)
            if found is None or (standing, -band.priority) > (best, -found.priority):
                best, found = standing, band
        return None if found is None else (best, found)

    def first(self, now: float) -> Waiter | None:
        """See Order."""
        best = self._best(now)
        return None if best is None else best[1].first().first

    def standing(self, now: float) -> Standing | None:
        """See Order."""
        best = self._best(now)
        if best is None:
            return None
        flow = best[1].first()
        return -best[0], best[1].priority, flow.account.counter, flow.since

    def ahead(self, newcomer: Waiter) -> tuple[int, int]:
        """See Order. An estimate: higher priorities, and of its own as much as is served while its tenant's own are.

        Per unit of cost of a tenant's own the others are served the ratio of their weights, each at most what it has.
        """
        requests = tokens = 0
        for priority, band in self._bands.items():
            if priority > newcomer.priority:
                requests += band.requests
                tokens += band.tokens
        own = self._bands.get(newcomer.priority)
        if own is None:
            return requests, tokens
        flow = own.flows.get(newcomer.claim.tenant)
        if flow is not None:
            lead = flow.account.counter - own.counters.level(self.engines)
            whole = own.weight * (max(0.0, lead) + flow.cost / flow.weight)
        else:
            counters, account = self.account(newcomer.priority, newcomer.claim)
            lead = account.counter - counters.level(self.engines)
            whole = (own.weight + account.weight) * max(0.0, lead)
        part = min(1.0, whole / own.cost)
        return requests + round(part * own.requests), tokens + round(part * own.tokens)

    def forward(self) -> Iterator[Waiter]:
        """See Order. As it would be if every request cost what is expected and no band aged."""
        for priority in sorted(self._bands, reverse=True):
            flows = map(_in_turn, self._bands[priority].flows.values())
            yield from (waiter for _, waiter in merge(*flows, key=itemgetter(0)))

    def backward(self, newcomer: Waiter) -> Iterator[Waiter]:
        """See Order."""
        for priority in sorted(priority for priority in self._bands if priority < newcomer.priority):
            yield from _last_served(self._bands[priority], -inf)
        own = self._bands.get(newcomer.priority)
        if own is not None:
            yield from _last_served(own, self._finish(own, newcomer))

    def _finish(self, band: _Band, newcomer: Waiter) -> float:
        """The newcomer's tenant's counter when it will have been served."""
        flow = band.flows.get(newcomer.claim.tenant)
        if flow is not None:
            return flow.account.counter + (flow.cost + newcomer.cost) / flow.weight
        counters, account = self.account(newcomer.priority, newcomer.claim)
        return max(account.counter, counters.level(self.engines)) + newcomer.cost / account.weight

    def tenants(self) -> dict[str, float]:
        """Tenants that wait, and their weights."""
        return {tenant: flow.account.weight for band in self._bands.values() for tenant, flow in band.flows.items()}

    def waiting(self) -> list[tuple[str, int, float]]:
        """Tenants that wait, with how many requests and at what weight; once for each priority."""
        flows = (flow for band in self._bands.values() for flow in band.flows.values())
        return [(flow.account.tenant, len(flow.waiters), flow.account.weight) for flow in flows]

    def explain(self, most: int = 20) -> list[dict[str, object]]:
        """For people: the tenants that wait, those with most waiting first."""
        flows = [(flow.cost / flow.weight, band, flow) for band in self._bands.values() for flow in band.flows.values()]
        flows.sort(key=itemgetter(0), reverse=True)
        return [
            {
                "tenant": flow.account.tenant,
                "priority": band.priority,
                "waiting": len(flow.waiters),
                "running": flow.account.running,
                "weight": flow.weight,
                "ahead_of_level": round(flow.account.counter - band.counters.level(self.engines), 1),
            }
            for _, band, flow in flows[:most]
        ]

    def move(self, shares: Shares) -> None:
        """Follows other counters from now on: who competes with whom has changed. Its tenants begin there anew."""
        waiters = sorted(
            (w for band in self._bands.values() for flow in band.flows.values() for w in flow.waiters.values()),
            key=lambda waiter: waiter.since,
        )
        for waiter in waiters:
            self.remove(waiter)
        self._shares = shares
        for waiter in waiters:
            self.add(waiter)


def _in_turn(flow: _Flow) -> Iterator[tuple[tuple[float, float], Waiter]]:
    """A flow's waiters with the counter at which each would start; age breaks ties."""
    counter = flow.account.counter
    for waiter in flow.waiters.values():
        yield (counter, waiter.since), waiter
        counter += waiter.cost / flow.weight


def _last_served(band: _Band, after: float) -> Iterator[Waiter]:
    """A band's waiters, who would be served last first, as long as that would be at a counter above `after`."""
    flows = band.flows.values()
    ends = [
        (-end, number, flow)
        for number, flow in enumerate(flows)
        if (end := flow.account.counter + flow.cost / flow.weight) > after
    ]
    heapify(ends)
    left: dict[int, Iterator[Waiter]] = {}
    while ends and -ends[0][0] > after:
        end, number, flow = ends[0]
        waiters = left.get(number)
        if waiters is None:
            waiters = left[number] = reversed(flow.waiters.values())
        waiter = next(waiters, None)
        if waiter is None:
            heappop(ends)
            continue
        yield waiter
        heapreplace(ends, (end + waiter.cost / flow.weight, number, flow))
