"""Requests that have their turn and wait at one full engine, as it has the prefix of their prompt.

`policy.route` says which wait where: as long as reading the prompt anew elsewhere would take longer. A lane is first
come first served; turns come in the order of `policy.fair`, and lanes are short. A request that waits has its lease:
decisions count it as in flight there.
"""

from collections import Counter, deque
from collections.abc import Mapping

from penstock.core.clock import monotonic
from penstock.core.errors import RequestError
from penstock.gateway.life import Wait
from penstock.gateway.relay import Relay
from penstock.gateway.view import FleetView
from penstock.gateway.waiting import Place, overloaded


class _Waiter:
    __slots__ = ("elsewhere", "place", "until", "wait")

    def __init__(self, place: Place, until: float) -> None:
        self.place = place
        self.until = until
        self.wait: Wait[RequestError | None] = Wait()
        self.elsewhere = False
        """It is to choose again."""

    def leave(self) -> None:
        self.elsewhere = True
        self.wait.set(None)


class Lanes:
    """One lane per engine, while somebody waits there."""

    def __init__(self, fleet: FleetView, max_wait_s: float) -> None:
        self._fleet = fleet
        self._max_wait_s = max_wait_s
        self._lanes: dict[str, deque[_Waiter]] = {}

    async def enter(self, relay: Relay, patience_s: float) -> bool:
        """Waits for room in `relay.engine`, where the request has its lease. False: another engine is to be chosen, as
        this one may not be used any more, or the request has waited for as long as it may. `patience_s`: how long its
        client will; infinity when it did not say.

        Raises Overloaded when the gateway stops, ClientLeft when nobody waits for the answer any more.
        """
        engine = relay.engine
        until = relay.request.received + min(self._max_wait_s, patience_s)
        waiter = _Waiter((relay.model, self._fleet.pools[engine]), until)
        lane = self._lanes.setdefault(engine, deque())
        lane.append(waiter)
        began = monotonic()
        relay.queued = waiter.wait
        refused = await waiter.wait
        relay.queued = None
        relay.queue_s += monotonic() - began
        if waiter in lane:
            lane.remove(waiter)
            if not lane:
                del self._lanes[engine]
        if refused is not None:
            raise refused
        return not waiter.elsewhere

    def ended(self, engine: str, now: float) -> None:
        """A request has ended there: whoever has room now starts."""
        lane = self._lanes.get(engine)
        while lane and self._fleet.router.room(engine, now, len(lane)) > 0:
            waiter = lane.popleft()
            if not lane:
                del self._lanes[engine]
            waiter.wait.set(None)

    def sweep(self, now: float) -> None:
        """Starts who can, and sends away who waits in vain."""
        if not self._lanes:
            return
        fleet = self._fleet
        bounded = {each.name for each in fleet.endpoints if each.max_in_flight and each.name in fleet.pools}
        for engine, lane in list(self._lanes.items()):
            usable = engine in bounded and fleet.may_use(engine, now)
            for waiter in [each for each in lane if not usable or now >= each.until]:
                waiter.leave()
            self.ended(engine, now)

    def drain(self) -> None:
        """Turns everybody away: the gateway stops."""
        reason = "The gateway is stopping; another will take the request."
        for lane in list(self._lanes.values()):
            for waiter in list(lane):
                waiter.wait.set(overloaded(reason, "queue_full", 1.0))

    def depths(self) -> Mapping[Place, int]:
        """(model, pool) -> requests that wait."""
        return Counter(waiter.place for lane in self._lanes.values() for waiter in lane)
