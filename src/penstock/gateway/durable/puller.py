"""Takes ids from the broker, has the gateway answer their requests, and writes each answer down once."""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import ParamSpec, TypeVar

import httpx

from penstock.core.clock import monotonic, type_of_clock
from penstock.core.tasks import Tasks
from penstock.gateway.durable import attempt
from penstock.gateway.durable.answer import read_request
from penstock.gateway.durable.counts import Counts
from penstock.gateway.durable.desk import read_job, request_key, write_job
from penstock.gateway.durable.pace import Pace
from penstock.gateway.durable.settings import Settings
from penstock.state.queue.broker import Broker, BrokerAway, Held, Kept
from penstock.state.queue.job import (
    MOST_ATTEMPTS,
    Drop,
    Failure,
    Job,
    Leave,
    Start,
    fail,
    finish,
    give_back,
    holds,
)
from penstock.state.queue.job import renew as renewed
from penstock.state.queue.job import start as begin

log = logging.getLogger("penstock.durable")

P = ParamSpec("P")
T = TypeVar("T")
LOOK_S = 1.0
"""A request that was called off is noticed within it."""
PULL_S = 2.0
AGAIN_S = 0.2
"""Between two tries at a broker that is away."""
TIMEOUT = httpx.Timeout(5.0, read=None, write=30.0, pool=None)
"""No read limit: the gateway has its own, and a long prefill is silent."""


class Lost(Exception):
    """The run is no longer ours: called off, or taken for dead."""


class Puller:
    """`run` until `stop`. At most `settings.concurrency` requests at once."""

    def __init__(self, broker: Broker, settings: Settings, now: type_of_clock, counts: Counts) -> None:
        self._broker = broker
        self._settings = settings
        self._now = now
        self._counts = counts
        self.pace = Pace(settings.concurrency)
        self._tasks = Tasks()
        self._running: set[asyncio.Task[None]] = set()
        self._changed = asyncio.Event()
        self._stopping = False
        self._client = httpx.AsyncClient(
            base_url=settings.gateway, timeout=TIMEOUT, trust_env=False, headers={},
            limits=httpx.Limits(max_connections=None, max_keepalive_connections=settings.concurrency),
        )  # fmt: skip
        # What the client would add is not the caller's.
        self._client.headers.clear()

    async def run(self) -> None:
        """Pulls until it is stopped; then lets what runs end for a while, and gives back the rest."""
        while not self._stopping:
            now = monotonic()
            room = self.pace.room(now)
            if not room:
                await self._wait(self.pace.pause_s(now) or None)
                continue
            try:
                found = await self._broker.pull(room, PULL_S)
            except BrokerAway as error:
                log.warning("%s", error)
                await self._wait(AGAIN_S)
                continue
            for held in found:
                # The room was that before the wait: the gateway may have refused something meanwhile.
                if self._stopping or not self.pace.room(monotonic()):
                    self._tasks.spawn(self._leave(held))
                    continue
                self.pace.started()
                task = self._tasks.spawn(self._serve(held))
                self._running.add(task)
                task.add_done_callback(self._ended)
        if self._running:
            await asyncio.wait(self._running, timeout=self._settings.drain_s)
        await self._tasks.cancel()
        await self._client.aclose()

    def stop(self) -> None:
        self._stopping = True
        self._changed.set()

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._running.discard(task)
        self._changed.set()

    async def _wait(self, seconds: float | None) -> None:
        """Until something ends, or so long."""
        self._changed.clear()
        with suppress(TimeoutError):
            await asyncio.wait_for(self._changed.wait(), seconds)

    async def _leave(self, held: Held) -> None:
        with suppress(BrokerAway):  # then it comes back by itself, later
            await self._broker.give_back(held, self.pace.pause_s(monotonic()))

    # -- one request -------------------------------------------------------------------------------------------------

    async def _serve(self, held: Held) -> None:
        outcome: attempt.Outcome | None = None
        try:
            job = await self._begin(held)
            if job is not None:
                outcome = await self._run(held, job)
                if isinstance(outcome, attempt.Refused):
                    self.pace.refused(monotonic(), outcome.retry_after_s)  # before it can be pulled again
                await self._settle(held, job, outcome)
        except Lost:
            self._counts.add("lost")
        except BrokerAway as error:
            log.warning("%s: %s; it is left to be handed out again", held.id, error)
        finally:
            if isinstance(outcome, attempt.Answered):
                self.pace.answered()
            elif not isinstance(outcome, attempt.Refused):
                self.pace.ended()

    async def _begin(self, held: Held) -> Job | None:
        """The job, with a run of our own; None when there is nothing to run."""
        while True:
            kept = await self._steadily(self._broker.get, held.id)
            if kept is None:
                await self._broker.done(held)
                return None
            decision = begin(read_job(kept.value), self._now(), self._settings.silent_s)
            match decision:
                case Drop():
                    await self._broker.done(held)
                    return None
                case Leave():
                    return None
            if await self._replaced(kept, decision.job):
                break
        if isinstance(decision, Start):
            self._counts.add("started" if decision.job.attempts == 1 else "redelivered")
            return decision.job
        await self._over(held)
        self._counts.add("failed")
        return None

    async def _run(self, held: Held, job: Job) -> attempt.Outcome:
        """Runs it for as long as the run is ours. Raises Lost."""
        data = await self._steadily(self._broker.get, request_key(job.id))
        if data is None:
            raise Lost

        async def append(number: int, piece: bytes) -> None:
            # It is cancelled when the run is lost; until then the broker may come back.
            await self._steadily(self._broker.append, job.log, number, piece)

        asked = read_request(data.value)
        work = asyncio.ensure_future(attempt.run(self._client, job.id, asked, append, self._settings.answer_bytes))
        try:
            await self._watch(held, job, work)
            return work.result()
        except asyncio.CancelledError:
            await _stopped(work)
            await self._settle(held, job, attempt.Refused())
            raise
        finally:
            await _stopped(work)

    async def _watch(self, held: Held, job: Job, work: "asyncio.Future[attempt.Outcome]") -> None:
        """Returns when the work is done. Raises Lost."""
        silent = self._settings.silent_s
        alive = renewed_at = monotonic()
        while not (await asyncio.wait((work,), timeout=min(LOOK_S, silent / 3)))[0]:
            due = monotonic() - renewed_at >= silent / 3
            try:
                await self._look(held, job, renew=due)
            except BrokerAway:
                if monotonic() - alive > silent:
                    raise Lost from None
                continue
            alive = monotonic()
            renewed_at = alive if due else renewed_at

    async def _look(self, held: Held, job: Job, *, renew: bool) -> None:
        """Whether the run is still ours; says that we are alive. Raises Lost, BrokerAway."""
        kept = await self._broker.get(job.id)
        found = None if kept is None else read_job(kept.value)
        if kept is None or found is None or not holds(found, job.run):
            await self._broker.forget(job.log)
            if found is None or found.state.over:
                await self._broker.done(held)
            raise Lost
        if renew and await self._broker.swap(
            job.id, kept, write_job(renewed(found, self._now(), self._settings.silent_s))
        ):
            await self._broker.extend(held)

    async def _settle(self, held: Held, job: Job, outcome: attempt.Outcome) -> None:
        """Writes down how a run ended: first in the record, then in the queue. Raises Lost, BrokerAway."""
        while True:
            kept = await self._steadily(self._broker.get, job.id)
            if kept is None or not holds(now := read_job(kept.value), job.run):
                raise Lost
            changed = self._after(now, outcome)
            if await self._replaced(kept, changed):
                break
        if not isinstance(outcome, attempt.Answered):
            await self._steadily(self._broker.forget, job.log)
        if not changed.state.over:
            self._counts.add("given_back")
            await self._steadily(self._broker.give_back, held, self.pace.pause_s(monotonic()))
            return
        await self._over(held)
        if isinstance(outcome, attempt.Answered):
            self._counts.answered(outcome.status)
        else:
            self._counts.add("failed")

    def _after(self, job: Job, outcome: attempt.Outcome) -> Job:
        match outcome:
            case attempt.Answered(status):
                return finish(job, status, self._now())
            case attempt.Refused():
                return give_back(job, counts=False)
            case attempt.TooLong():
                return fail(job, Failure.TOO_LARGE, self._now())
            case attempt.Broken(why):
                log.warning("%s: run %d: %s", job.id, job.run, why)
                if job.attempts < MOST_ATTEMPTS:
                    return give_back(job, counts=True)
                return fail(job, Failure.ABANDONED, self._now())

    async def _over(self, held: Held) -> None:
        """Its bytes, with the caller's credentials in them, go; then the queue forgets it."""
        await self._steadily(self._broker.delete, request_key(held.id))
        await self._steadily(self._broker.done, held)

    async def _replaced(self, kept: Kept, job: Job) -> bool:
        """Whether the record is now this one. A swap whose answer got lost is seen by what is there."""
        value = write_job(job)
        if await self._steadily(self._broker.swap, job.id, kept, value):
            return True
        found = await self._steadily(self._broker.get, job.id)
        return found is not None and found.value == value

    async def _steadily(self, call: Callable[P, Awaitable[T]], *args: P.args, **named: P.kwargs) -> T:
        """Repeats a call while the broker is away, for as long as a run may live."""
        end = monotonic() + self._settings.silent_s
        while True:
            try:
                return await call(*args, **named)
            except BrokerAway:
                if monotonic() > end:
                    raise
                await asyncio.sleep(AGAIN_S)


async def _stopped(work: "asyncio.Future[attempt.Outcome]") -> None:
    work.cancel()
    await asyncio.wait((work,))
