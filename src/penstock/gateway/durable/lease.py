"""A puller's hold on one run of a request: taken, kept alive, and given up with what became of it.

The job's record decides, and each change of it replaces exactly what was read. So of two pullers that believe they run
the same request one writes its answer down, and the other is told that its run is lost.
"""

import asyncio
from collections.abc import Callable

from penstock.core.clock import type_of_clock
from penstock.gateway.durable.answer import Asked, read_request
from penstock.gateway.durable.desk import read_job, request_key, write_job
from penstock.gateway.durable.steady import steadily
from penstock.state.queue.broker import Broker, Held, Kept
from penstock.state.queue.job import Drop, Fail, Job, Leave, Start, holds, renew, start


class Lost(Exception):
    """The run is no longer ours: called off, or taken for dead."""


class Lease:
    """`take` it first. Methods raise BrokerAway after `silent_s`; `look` and `settle` raise Lost."""

    def __init__(self, broker: Broker, held: Held, now: type_of_clock, silent_s: float) -> None:
        self._broker = broker
        self._held = held
        self._now = now
        self._silent_s = silent_s
        self._kept = Kept(b"")
        self._request: Kept | None = None
        self.job: Job
        """The record as this run knows it."""

    async def take(self) -> Start | Fail | Drop | Leave:
        """Begins a run of our own, when there is one to begin. The queue is told of a request that is over."""
        while True:
            kept, self._request = await asyncio.gather(
                steadily(self._silent_s, self._broker.get, self._held.id),
                steadily(self._silent_s, self._broker.get, request_key(self._held.id)),
            )
            decision = Drop() if kept is None else start(read_job(kept.value), self._now(), self._silent_s)
            match decision:
                case Leave():
                    return decision
                case Drop():
                    await self._done()
                    return decision
            assert kept is not None
            if await self._replace(kept, decision.job):
                break
        if isinstance(decision, Fail):
            await self._over()
        return decision

    def request(self) -> Asked:
        """What is to be run. Raises Lost when it was called off just now."""
        if self._request is None:
            raise Lost
        return read_request(self._request.value)

    async def append(self, number: int, piece: bytes) -> None:
        """Adds to this run's answer."""
        await steadily(self._silent_s, self._broker.append, self.job.log, number, piece)

    async def look(self, *, alive: bool) -> None:
        """Whether the run is still ours, without repeating anything. `alive`: says that we are there."""
        kept = await self._broker.get(self.job.id)
        self._check(kept)
        if alive and await self._try(renew(self.job, self._now(), self._silent_s)):
            await self._broker.extend(self._held)

    async def settle(self, change: Callable[[Job], Job], delay_s: float = 0.0) -> Job:
        """Writes down how the run ended: first in the record, then in the queue. Returns the record.

        A request that waits again is handed out after the delay; without an answer, what there was of it goes.
        """
        while not await self._replace(self._kept, change(self.job)):
            self._check(await steadily(self._silent_s, self._broker.get, self.job.id))
        if not self.job.status:
            await steadily(self._silent_s, self._broker.forget, self.job.log)
        if self.job.state.over:
            await self._over()
        else:
            await steadily(self._silent_s, self._broker.give_back, self._held, delay_s)
        return self.job

    async def drop(self) -> None:
        """After Lost: what was appended goes, and the queue is told when the request is over."""
        await self._broker.forget(self.job.log)
        kept = await self._broker.get(self.job.id)
        if kept is None or read_job(kept.value).state.over:
            await self._broker.done(self._held)

    def _check(self, kept: Kept | None) -> None:
        if kept is None or not holds(found := read_job(kept.value), self.job.run):
            raise Lost
        self._kept, self.job = kept, found

    async def _replace(self, kept: Kept, job: Job) -> bool:
        """Whether the record is now this one. A swap whose answer got lost is seen by what is there."""
        value = write_job(job)
        made = await steadily(self._silent_s, self._broker.swap, job.id, kept, value)
        if made is None:
            made = await steadily(self._silent_s, self._broker.get, job.id)
            if made is None or made.value != value:
                return False
        self._kept, self.job = made, job
        return True

    async def _try(self, job: Job) -> bool:
        made = await self._broker.swap(job.id, self._kept, write_job(job))
        if made is None:
            return False
        self._kept, self.job = made, job
        return True

    async def _over(self) -> None:
        """Its bytes, with the caller's credentials in them, go, and the queue forgets it."""
        await asyncio.gather(steadily(self._silent_s, self._broker.delete, request_key(self._held.id)), self._done())

    async def _done(self) -> None:
        await steadily(self._silent_s, self._broker.done, self._held)
