"""A supervisor's side: hears its workers, speaks for all of them with the store, and divides what it gets. Pure.

worker's Wants    -> `heard`      -> Grants that need no store
nothing under way -> `batch`      -> what to tell and ask the store
its answer        -> `answered`   -> Grants for those who waited
no answer         -> `failed`     -> Grants that say the store is away
"""

from math import inf

import msgspec

from penstock.policy.limit.bucket import Bucket
from penstock.policy.limit.messages import Grant, Grants, Wants
from penstock.policy.limit.pool import DRIFT, Ask, Pool
from penstock.policy.limit.statement import Answers, Batch

IDLE_S = 60.0
"""A pool that holds nothing is forgotten after so long."""
MOST = 500
"""Buckets in one exchange: a store is busy with it for a few milliseconds at most."""
Replies = dict[int, Grants]
"""Worker -> what it is told."""


class Use(msgspec.Struct, frozen=True):
    """How far a bucket is used, for people."""

    bucket: Bucket
    used: int
    """By all replicas, as the store last said."""
    here: int
    """Of that, held by this replica and not spent."""


class Broker:
    """All pools of one replica. `holder` is its name at the store, another one at every start of the process."""

    def __init__(self, holder: str, lease_s: float) -> None:
        self._holder = holder
        self._lease_s = lease_s
        self._pools: dict[str, Pool] = {}
        self._changed: dict[str, Pool] = {}
        self._number = 0
        self._under_way: tuple[Pool, ...] = ()
        self._began = -inf
        self._scan_at = -inf
        self._offset_us: int | None = None
        self.away = False
        """The store did not answer last time."""

    @property
    def asked(self) -> bool:
        """Whether somebody waits for the next exchange."""
        return any(pool.asks for pool in self._changed.values())

    def heard(self, worker: int, wants: Wants, now: float) -> Grants:
        """Takes in a report. What needs the store is answered after the next exchange; at once when it is away."""
        grants = []
        for want in wants.wants:
            name = want.bucket.id
            pool = self._pools.get(name)
            if pool is None:
                pool = self._pools[name] = Pool(want.bucket)
            self._changed[name] = pool
            ask = pool.hear(worker, want, wants.number, now)
            if ask is None:
                grants.append(pool.grant(wants.number))
            elif pool.covers(ask, now):
                grants.append(pool.serve(ask))
            elif self.away:
                grants.append(pool.grant(wants.number, away=ask.need > 0))
            else:
                pool.asks.append(ask)
        return Grants(tuple(grants))

    def left(self, worker: int) -> None:
        """A worker has ended: what it had counts as spent, what it held is free."""
        for name, pool in self._pools.items():
            if worker in pool.shares:
                self._changed[name] = pool
            pool.leave(worker)

    def batch(self, now: float) -> Batch | None:
        """What to tell and ask the store now; None: nothing, or the last exchange is still under way."""
        if self._under_way:
            return None
        if now >= self._scan_at:
            self._scan_at = now + self._lease_s / 6
            self._scan(now)
        names = list(self._changed)[:MOST]
        if not names:
            return None
        self._under_way = tuple(self._changed.pop(name) for name in names)
        self._number += 1
        self._began = now
        statements = tuple(pool.statement(self._number, now, self._offset_us) for pool in self._under_way)
        return Batch(self._holder, self._number, int(self._lease_s * 1e6), statements)

    def answered(self, answers: Answers, now: float) -> Replies:
        """The store's answer to the batch under way, received `now`."""
        self.away = False
        # Read before it was sent: the store's clock shows at least so much more than ours.
        self._offset_us = answers.now_us - int(now * 1e6) - 1
        until = self._began + self._lease_s * (1 - DRIFT)
        pools, self._under_way = self._under_way, ()
        told: list[tuple[Ask, Grant]] = []
        for pool, answer in zip(pools, answers.answers, strict=True):
            told += pool.answer(answer, answers.now_us, self._began, until)
            if pool.unsaid or pool.free:
                self._changed[pool.bucket.id] = pool
        return _replies(told)

    def failed(self) -> Replies:
        """The store did not answer the batch under way. It may have heard it: the next one puts that right."""
        self.away = True
        pools, self._under_way = self._under_way, ()
        told: list[tuple[Ask, Grant]] = []
        for pool in pools:
            self._changed[pool.bucket.id] = pool
        for pool in self._changed.values():
            told += [(ask, pool.grant(ask.number, away=ask.need > 0)) for ask in (*pool.sent, *pool.asks)]
            pool.sent, pool.asks = [], []
        return _replies(told)

    def farewell(self) -> Batch | None:
        """The last batch of a replica, after its workers have ended: what was spent is told, the rest goes back."""
        for worker in {worker for pool in self._pools.values() for worker in pool.shares}:
            self.left(worker)
        self._under_way = ()
        self._changed.update(self._pools)
        return self.batch(self._began)

    def uses(self) -> list[Use]:
        """The buckets that were lately in use."""
        return [Use(pool.bucket, pool.used, pool.amount) for pool in self._pools.values()]

    def _scan(self, now: float) -> None:
        """Leases to renew, and pools to forget."""
        for name, pool in list(self._pools.items()):
            if pool.amount and now - pool.renewed > self._lease_s / 3:
                self._changed[name] = pool
            elif pool.idle and now - pool.touched > IDLE_S:
                del self._pools[name]
                self._changed.pop(name, None)


def _replies(told: list[tuple[Ask, Grant]]) -> Replies:
    by_worker: dict[int, list[Grant]] = {}
    for ask, grant in told:
        by_worker.setdefault(ask.worker, []).append(grant)
    return {worker: Grants(tuple(grants)) for worker, grants in by_worker.items()}
