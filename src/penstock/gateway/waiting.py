"""Requests that wait until an engine of theirs has room. `policy.admission` says who; this wakes and tells them."""

import itertools
from collections.abc import Sequence
from math import inf

from penstock.config.routing import Queue
from penstock.core.clock import monotonic
from penstock.core.endpoint import Endpoint
from penstock.core.errors import Overloaded, RequestError
from penstock.gateway.life import Wait
from penstock.gateway.relay import Relay
from penstock.gateway.view import FleetView
from penstock.policy.admission import AdmissionQueue, AdmissionSettings, Outcome, Queued, Rejected
from penstock.policy.resilience.advice import AGAIN
from penstock.policy.route.facts import Ask

CODES = {Outcome.REJECTED_CAPACITY: "queue_full", Outcome.REJECTED_DEADLINE: "deadline_unmeetable"}


class _Line:
    """One queue, the engines it waits for, and what its waiters await."""

    __slots__ = ("engines", "queue", "waits")

    def __init__(self, settings: AdmissionSettings) -> None:
        self.queue = AdmissionQueue(settings)
        self.engines: Sequence[Endpoint] = ()
        self.waits: dict[str, Wait[RequestError | None]] = {}


class Waiting:
    """One queue per model and pool, made when a request first finds all its engines bounded."""

    def __init__(self, settings: Queue, fleet: FleetView) -> None:
        self._settings = AdmissionSettings(requests=settings.size, longest=settings.max_wait)
        self._max_wait_s = settings.max_wait
        self._fleet = fleet
        self.lines: dict[tuple[str, str], _Line] = {}
        """By model and pool. Empty while no request has found all of its engines bounded."""
        self._keys = itertools.count()

    async def enter(self, relay: Relay, ask: Ask, model: str, engines: Sequence[Endpoint], patience_s: float) -> None:
        """Returns when the request may start. Raises Overloaded when it may not wait, or waited in vain.

        `patience_s`: how long its client will; infinity when it did not say.
        """
        line = self._line(model, engines)
        key, now = str(next(self._keys)), monotonic()
        answer = line.queue.offer(
            key,
            now,
            room=self._room(engines),
            tokens=ask.prompt_tokens + ask.output_tokens,
            priority=ask.priority,
            deadline=now + patience_s,
        )
        if isinstance(answer, Rejected):
            raise _overloaded(answer.reason, CODES[answer.outcome], answer.retry_after_s)
        if not isinstance(answer, Queued):
            return
        wait: Wait[RequestError | None] = Wait()
        line.waits[key] = relay.queued = wait
        for loser in answer.displaced:
            line.waits.pop(loser).set(_displaced())
        refused = await wait
        relay.queued = None
        relay.queue_s = monotonic() - now
        if refused is not None:
            if line.waits.pop(key, None) is not None:
                line.queue.cancel(key, monotonic())
            raise refused

    def ended(self, tokens: int) -> None:
        """A request has ended somewhere: whoever has room now starts."""
        now = monotonic()
        for line in list(self.lines.values()):
            if line.waits:
                line.queue.completed(tokens, now)
                self._start(line, now)

    def sweep(self, now: float) -> None:
        """Starts who can, and turns away who waited too long. Engines may have come since."""
        for (model, _), line in list(self.lines.items()):  # who is turned away may join another
            if line.waits:
                for key in line.queue.expired(now):
                    reason = f"No engine had room within queue.max_wait ({self._max_wait_s:g} s) or the client's own."
                    line.waits.pop(key).set(_overloaded(reason, "queue_timeout", self._max_wait_s))
                line.engines = self._serving(model)
                self._start(line, now)

    def drain(self, now: float) -> None:
        """Turns everybody away: the gateway stops."""
        for line in list(self.lines.values()):
            for key in line.queue.drain(now):
                reason = "The gateway is stopping; another will take the request."
                line.waits.pop(key).set(_overloaded(reason, "queue_full", 1.0))

    def depths(self) -> dict[tuple[str, str], int]:
        """(model, pool) -> requests that wait."""
        return {place: len(line.queue) for place, line in self.lines.items()}

    def explain(self) -> list[dict[str, object]]:
        """For people."""
        now = monotonic()
        return [{"model": m, "pool": p, **line.queue.explain(now)} for (m, p), line in self.lines.items()]

    def _line(self, model: str, engines: Sequence[Endpoint]) -> _Line:
        place = (model, engines[0].pool)
        line = self.lines.get(place)
        if line is None:
            line = self.lines[place] = _Line(self._settings)
        line.engines = engines
        return line

    def _start(self, line: _Line, now: float) -> None:
        # One at a time: each takes its place before the next is counted.
        while line.waits and self._room(line.engines) > 0:
            taken = line.queue.take(1, now)
            if not taken:
                return
            line.waits.pop(taken[0]).set(None)

    def _serving(self, model: str) -> Sequence[Endpoint]:
        try:
            return self._fleet.serving(model or None)
        except RequestError:
            return ()

    def _room(self, engines: Sequence[Endpoint]) -> int:
        """Requests that could start now; where an engine without a bound has come, one at a time."""
        usable = self._fleet.usable(engines, monotonic())
        if not bounded(usable):
            return 1
        in_flight = self._fleet.router.in_flight
        return sum(max(0, engine.max_in_flight - in_flight(engine.name)) for engine in usable)


def bounded(engines: Sequence[Endpoint]) -> bool:
    """Whether all engines can be full at once; where one has no bound, nobody ever waits."""
    return all(engine.max_in_flight for engine in engines)


def patience(stated: bytes) -> float:
    """Seconds a client will wait, from the read timeout that OpenAI's SDKs send along; infinity without."""
    try:
        seconds = float(stated) if stated else inf
    except ValueError:
        return inf
    return seconds if seconds > 0 else inf


def _displaced() -> Overloaded:
    return _overloaded("The queue was full and a request of higher priority came.", "displaced", 2.0)


def _overloaded(reason: str, code: str, retry_after_s: float) -> Overloaded:
    """With the word on whether to come again that SDKs obey: not where the same patience would end the same way."""
    error = Overloaded(reason, code=code, retry_after_s=retry_after_s)
    error.retry = code in AGAIN
    return error
