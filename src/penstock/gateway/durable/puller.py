"""Takes ids from the broker and has the gateway answer their requests, as many at once as the gateway takes."""

import asyncio
import logging
from contextlib import suppress

import httpx

from penstock.core.clock import monotonic, type_of_clock
from penstock.core.tasks import Tasks
from penstock.gateway.durable import attempt
from penstock.gateway.durable.counts import Counts
from penstock.gateway.durable.lease import Lease, Lost
from penstock.gateway.durable.pace import Pace
from penstock.gateway.durable.settings import Settings
from penstock.gateway.durable.steady import AGAIN_S
from penstock.state.queue.broker import Broker, BrokerAway, Held
from penstock.state.queue.job import MOST_ATTEMPTS, Fail, Failure, Job, Start, fail, finish, give_back

log = logging.getLogger("penstock.durable")

LOOK_S = 1.0
"""A request that was called off is noticed within it."""
PULL_S = 2.0
TIMEOUT = httpx.Timeout(5.0, read=None, write=30.0, pool=None)
"""No read limit: the gateway has its own, and a long prefill is silent."""


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
        limits = httpx.Limits(max_connections=None, max_keepalive_connections=settings.concurrency)
        self._client = httpx.AsyncClient(base_url=settings.gateway, timeout=TIMEOUT, trust_env=False, limits=limits)
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
        lease = Lease(self._broker, held, self._now, self._settings.silent_s)
        outcome: attempt.Outcome | None = None
        try:
            match await lease.take():
                case Start(job):
                    self._counts.add("started" if job.attempts == 1 else "redelivered")
                    outcome = await self._run(lease)
                    if isinstance(outcome, attempt.Refused):
                        self.pace.refused(monotonic(), outcome.retry_after_s)  # before it can be pulled again
                    await self._settle(lease, outcome)
                case Fail():
                    self._counts.add("failed")
        except Lost:
            self._counts.add("lost")
            with suppress(BrokerAway):
                await lease.drop()
        except BrokerAway as error:
            log.warning("%s: %s; it is left to be handed out again", held.id, error)
        finally:
            if isinstance(outcome, attempt.Answered):
                self.pace.answered()
            elif not isinstance(outcome, attempt.Refused):
                self.pace.ended()

    async def _run(self, lease: Lease) -> attempt.Outcome:
        """Runs it for as long as the run is ours. Raises Lost, BrokerAway."""
        asked = lease.request()
        work = asyncio.ensure_future(
            attempt.run(self._client, lease.job.id, asked, lease.append, self._settings.answer_bytes)
        )
        try:
            await self._watch(lease, work)
            return work.result()
        except asyncio.CancelledError:
            # Nobody's fault: it is given back as if the gateway had refused it.
            await _stopped(work)
            await self._settle(lease, attempt.Refused())
            raise
        finally:
            await _stopped(work)

    async def _watch(self, lease: Lease, work: "asyncio.Future[attempt.Outcome]") -> None:
        """Returns when the work is done. Raises Lost."""
        silent = self._settings.silent_s
        alive = said = monotonic()
        while not (await asyncio.wait((work,), timeout=min(LOOK_S, silent / 3)))[0]:
            due = monotonic() - said >= silent / 3
            try:
                await lease.look(alive=due)
            except BrokerAway:
                if monotonic() - alive > silent:
                    raise Lost from None
                continue
            alive = monotonic()
            said = alive if due else said

    async def _settle(self, lease: Lease, outcome: attempt.Outcome) -> None:
        """Raises Lost, BrokerAway."""
        job = await lease.settle(lambda job: self._after(job, outcome), self.pace.pause_s(monotonic()))
        if not job.state.over:
            self._counts.add("given_back")
        elif isinstance(outcome, attempt.Answered):
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


async def _stopped(work: "asyncio.Future[attempt.Outcome]") -> None:
    work.cancel()
    await asyncio.wait((work,))
