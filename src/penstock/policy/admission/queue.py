"""The bounded queue of one pool. Pure: it says who starts and who goes; waking and telling them is the gateway's.

Every offered key leaves exactly once: by the answer to `offer` (Admitted, Rejected), in a later `Queued.displaced`, or
from `take`, `expired`, `cancel` or `drain`.
"""

from math import inf
from typing import Annotated

import msgspec
from msgspec import Meta

from penstock.policy.admission.order import NOBODY, Claim, Order, PriorityFifo, Waiter
from penstock.policy.admission.outcome import Admitted, Outcome, Queued, Rejected
from penstock.policy.admission.speed import Speed


class AdmissionSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The queue of a pool, per worker."""

    requests: Annotated[int, Meta(ge=0, le=1_000_000, description="Requests that may wait; 0: none waits")] = 1000
    tokens: Annotated[int, Meta(ge=0, description="Tokens that may wait in all, input and output; 0: no bound")] = 0
    longest: Annotated[float, Meta(gt=0, le=86400, description="Seconds one may wait if it brings no deadline")] = 60.0
    memory: Annotated[float, Meta(gt=0, le=3600, description="Busy seconds over which the pool's speed is taken")] = (
        30.0
    )
    retry_after: Annotated[
        float, Meta(ge=1, le=3600, description="Seconds a rejected client is told to wait while the speed is unknown")
    ] = 2.0


class AdmissionQueue:
    """Bounded in requests and tokens; order by strategy; estimates from what the pool has worked off.

    `room` is how many more requests the pool can start now: the caller counts, since only it knows the engines.
    """

    def __init__(self, settings: AdmissionSettings, order: Order | None = None) -> None:
        self._settings = settings
        self._order: Order = PriorityFifo() if order is None else order
        self._waiters: dict[str, Waiter] = {}
        self._tokens = 0
        self._speed = Speed(settings.memory)
        self._seen = -inf
        """When it last accounted for busy time."""
        self._soonest = inf
        """No deadline is sooner."""
        self._late: set[str] = set()
        """Waiters whose deadline has passed, out of the order, until `expired` tells of them."""
        self._soonest_late = inf
        """No deadline of those in the order is sooner."""

    def __len__(self) -> int:
        return len(self._waiters)

    def __contains__(self, key: str) -> bool:
        return key in self._waiters

    @property
    def tokens(self) -> int:
        """Tokens that wait."""
        return self._tokens

    def offer(
        self,
        key: str,
        now: float,
        *,
        room: int,
        tokens: int,
        priority: int = 0,
        deadline: float = inf,
        claim: Claim = NOBODY,
    ) -> Admitted | Queued | Rejected:
        """A request has come that must start before `deadline`. Raises ValueError for a key that already waits.

        It starts at once only when nobody waits; otherwise call `take` when there is room.
        """
        if key in self._waiters:
            raise ValueError(f"{key!r} already waits")
        self._account(now)
        deadline = min(deadline, now + self._settings.longest)
        waiter = Waiter(key, priority, deadline, max(0, tokens), now, claim)
        if deadline > now and room > 0 and not self._waiters:
            self._order.started(waiter, now)
            return Admitted()
        ahead, ahead_tokens = self._order.ahead(waiter)
        estimate = self._speed.wait_s(ahead, ahead_tokens)
        # The first in line may wait whatever the estimate: were all refused, the speed would never be learned anew.
        if deadline <= now or (ahead and estimate is not None and now + estimate > deadline):
            return self._too_late(waiter, now, estimate)
        displaced = self._make_room(waiter)
        if displaced is None:
            return self._full(estimate)
        for loser in displaced:
            self._remove(loser)
        self._waiters[key] = waiter
        self._tokens += waiter.tokens
        self._order.add(waiter)
        self._soonest = min(self._soonest, deadline)
        self._soonest_late = min(self._soonest_late, deadline)
        return Queued(ahead, estimate, tuple(loser.key for loser in displaced))

    def take(self, room: int, now: float) -> list[str]:
        """Keys to start now, in order, at most `room`. Those whose deadline has passed stay for `expired`."""
        self._account(now)
        starting: list[str] = []
        while len(starting) < room:
            self._set_late_aside(now)
            waiter = self._order.first(now)
            if waiter is None:
                break
            self._remove(waiter)
            self._order.started(waiter, now)
            starting.append(waiter.key)
        return starting

    def standing(self, now: float) -> tuple[float, ...] | None:
        """How well placed the next to start is among those of competing queues: the smallest goes first."""
        self._set_late_aside(now)
        return self._order.standing(now)

    def expired(self, now: float) -> list[str]:
        """Keys whose deadline has passed: EVICTED_TTL. Costs nothing while none can have."""
        if now < self._soonest:
            return []
        self._account(now)
        gone = [waiter for waiter in self._waiters.values() if waiter.deadline <= now]
        for waiter in gone:
            self._remove(waiter)
        self._soonest = min((waiter.deadline for waiter in self._waiters.values()), default=inf)
        return [waiter.key for waiter in gone]

    def _set_late_aside(self, now: float) -> None:
        """Takes those whose deadline has passed out of the order. Costs nothing while none can have."""
        if now < self._soonest_late:
            return
        left = inf
        for waiter in self._waiters.values():
            if waiter.key not in self._late:
                if waiter.deadline <= now:
                    self._order.remove(waiter)
                    self._late.add(waiter.key)
                else:
                    left = min(left, waiter.deadline)
        self._soonest_late = left

    @property
    def soonest(self) -> float:
        """No waiter's deadline is sooner: when to call `expired` next. Infinity when nobody waits."""
        return self._soonest if self._waiters else inf

    def cancel(self, key: str, now: float) -> bool:
        """Its client left: EVICTED_CONTEXT_CANCELLED. False when it does not wait (it may have just started)."""
        waiter = self._waiters.get(key)
        if waiter is None:
            return False
        self._account(now)
        self._remove(waiter)
        return True

    def drain(self, now: float) -> list[str]:
        """Empties the queue: EVICTED_OTHER, in order."""
        self._account(now)
        gone = [*self._order.forward(), *(self._waiters[key] for key in self._late)]
        for waiter in gone:
            self._remove(waiter)
        return [waiter.key for waiter in gone]

    def completed(self, tokens: int, now: float) -> None:
        """A request of the pool has ended, whether it waited or not: teaches the speed. Call it before `take`."""
        self._account(now)
        if self._waiters:
            self._speed.completed(max(0, tokens))

    def explain(self, now: float) -> dict[str, object]:
        """For people: depth, bounds, oldest waiter and learned speed."""
        oldest = min((waiter.since for waiter in self._waiters.values()), default=None)
        speed = self._speed
        return {
            "waiting": len(self._waiters),
            "waiting_tokens": self._tokens,
            "most": self._settings.requests,
            "most_tokens": self._settings.tokens,
            "oldest_s": None if oldest is None else round(now - oldest, 3),
            "requests_per_s": speed.requests_per_s,
            "tokens_per_s": speed.tokens_per_s,
        }

    def _account(self, now: float) -> None:
        """Busy time since the last call, if somebody waited."""
        if self._waiters:
            self._speed.busy(now - self._seen)
        self._seen = max(self._seen, now)

    def _remove(self, waiter: Waiter) -> None:
        del self._waiters[waiter.key]
        self._tokens -= waiter.tokens
        if waiter.key in self._late:
            self._late.remove(waiter.key)
        else:
            self._order.remove(waiter)

    def _make_room(self, newcomer: Waiter) -> list[Waiter] | None:
        """Who must go so that the newcomer fits; None when those that matter less are not enough."""
        most, most_tokens = self._settings.requests, self._settings.tokens
        requests, tokens = len(self._waiters) + 1 - most, 0
        if most_tokens:
            if newcomer.tokens > most_tokens:
                return None
            tokens = self._tokens + newcomer.tokens - most_tokens
        losers: list[Waiter] = []
        if requests <= 0 and tokens <= 0:
            return losers
        for waiter in self._order.backward(newcomer):
            losers.append(waiter)
            requests -= 1
            tokens -= waiter.tokens
            if requests <= 0 and tokens <= 0:
                return losers
        return None

    def _full(self, estimate: float | None) -> Rejected:
        reason = f"The queue is full: {len(self._waiters)} requests with {self._tokens} tokens wait."
        wait = self._settings.retry_after if estimate is None else max(1.0, estimate)
        return Rejected(Outcome.REJECTED_CAPACITY, reason, estimate, wait)

    def _too_late(self, waiter: Waiter, now: float, estimate: float | None) -> Rejected:
        """The deadline cannot be met. After the surplus has been worked off, the same allowance may do."""
        allowed = max(0.0, waiter.deadline - now)
        if estimate is None:
            reason = "The deadline has passed."
            return Rejected(Outcome.REJECTED_DEADLINE, reason, None, self._settings.retry_after)
        reason = f"The request would wait {estimate:.1f} s in the queue and may wait {allowed:.1f} s."
        return Rejected(Outcome.REJECTED_DEADLINE, reason, estimate, max(1.0, estimate - allowed))
