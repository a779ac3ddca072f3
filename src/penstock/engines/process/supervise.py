"""Keeps one child alive: start, warm-up, probes, restart with back-off, drain, stop.

Everything is awaited in the supervisor's loop; whatever the child does, here it is a status.
"""

import asyncio
import logging
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Generic, TypeVar

import msgspec

from penstock.core.clock import monotonic, wall
from penstock.core.endpoint import EngineState
from penstock.core.errors import ModelError
from penstock.core.tasks import Tasks
from penstock.engines.process.backoff import failures_after, restart_delay_s
from penstock.engines.process.child import Child
from penstock.engines.process.probe import Probe
from penstock.engines.process.status import Patience, ProcessStatus

log = logging.getLogger("penstock.process")

HEALTH_INTERVAL_S = 0.05
"""Between two questions while it starts."""

OnChange = Callable[[ProcessStatus], None]
C = TypeVar("C", bound=Child)


class Hopeless(Exception):
    """Another start would fail the same way."""


class Supervised(ABC, Generic[C]):
    """One engine in a child process. `run` until cancelled, or `start` and later `stop`."""

    noun = "the engine"

    def __init__(self, name: str, startup_timeout_s: float, on_change: OnChange, patience: Patience) -> None:
        self._name = name
        self._startup_timeout_s = startup_timeout_s
        self._on_change = on_change
        self._patience = patience
        self._status = ProcessStatus(EngineState.STOPPED)
        self._ready_for_s = 0.0
        self._was_ready = False
        self._tasks = Tasks()

    @abstractmethod
    async def spawn(self) -> C:
        """Starts one child. Raises OSError, ModelError, Hopeless."""

    @abstractmethod
    async def begin(self, child: C) -> str:
        """Waits for the child's own word that it started; returns its base URL. Raises ModelError, Hopeless."""

    @abstractmethod
    async def greet(self, probe: Probe) -> dict[str, bytes]:
        """Warms a healthy child up; returns its models. Raises ModelError."""

    async def drain(self, probe: Probe) -> None:
        """Lets a ready child finish what it has, before a wanted stop. Bounded by whoever overrides it."""

    def gave_up(self, child: C) -> ModelError | Hopeless:
        """What the end of a child that was not ready yet means."""
        return ModelError(child.epitaph())

    @property
    def status(self) -> ProcessStatus:
        return self._status

    async def start(self) -> None:
        """Begins supervision and returns at once; `on_change` tells what comes of it."""
        self._tasks.spawn(self.run())

    async def stop(self) -> None:
        """Ends child and supervision, in the time of `drain` and `Patience.stop_timeout_s`. Idempotent."""
        await self._tasks.cancel()

    async def run(self) -> None:
        """Supervises until cancelled. A child that cannot be started at all leaves it FAILED, and waiting."""
        failures = 0
        self._was_ready = False
        self._change(EngineState.STARTING, reason="", restarts=0)
        try:
            while True:
                reason = await self._live()
                failures = failures_after(failures, self._ready_for_s, self._patience.forgive_after_s)
                if not self._was_ready and failures >= self._patience.first_starts:
                    raise Hopeless(reason)
                delay_s = restart_delay_s(failures, self._patience.restart_base_s, self._patience.restart_cap_s)
                log.warning("engine %s: %s; next start in %.2f s", self._name, reason, delay_s)
                self._change(EngineState.RESTARTING, reason=reason, address="", pid=0, models={})
                await asyncio.sleep(delay_s)
                self._change(EngineState.RESTARTING, restarts=self._status.restarts + 1)
        except Hopeless as error:
            log.error("engine %s cannot start: %s", self._name, error)
            self._change(EngineState.FAILED, reason=str(error), address="", pid=0, models={})
            await asyncio.Event().wait()
        finally:
            self._change(EngineState.STOPPED, address="", pid=0, models={})

    async def _live(self) -> str:
        """One child from start to end. Returns why it ended; raises Hopeless."""
        self._ready_for_s = 0.0
        try:
            child = await self.spawn()
        except OSError as error:
            return f"the child process cannot be started: {error}"
        except ModelError as error:
            return str(error)
        try:
            self._change(self._status.state, pid=child.pid, started_at=wall())
            return await self._use(child)
        except asyncio.CancelledError:
            await self._say_goodbye()
            raise
        finally:
            # A hung or unready child has nothing to finish; only a wanted stop is a polite one.
            wanted = self._status.state is EngineState.STOPPING
            await child.stop(self._patience.stop_timeout_s if wanted else 0.0)

    async def _say_goodbye(self) -> None:
        """A wanted stop: nobody sends it work any more, and what it has may end."""
        served = self._status.state is EngineState.READY
        self._change(EngineState.STOPPING)
        if served:
            async with Probe(self._status.address, self._patience.probe_timeout_s, self.noun) as probe:
                await self.drain(probe)

    async def _use(self, child: C) -> str:
        """From its first word to the end of the child or of our patience with it."""
        timeout_s = self._startup_timeout_s
        try:
            async with asyncio.timeout(timeout_s):
                address = await self._get_ready(child)
        except TimeoutError:
            return f"it was not ready after {timeout_s:g} s; the machine is too slow or too busy: {child.last_words()}"
        except ModelError as error:
            return str(error)
        began = monotonic()
        self._was_ready = True
        try:
            return await self._watch(child, address)
        finally:
            self._ready_for_s = monotonic() - began

    async def _get_ready(self, child: C) -> str:
        """Waits for the address, warms up, announces READY. Raises ModelError, Hopeless."""
        address = await self.begin(child)
        restarting = self._status.state is EngineState.RESTARTING
        state = EngineState.RESTARTING if restarting else EngineState.WARMING
        self._change(state, address=address, pid=child.pid)
        async with Probe(address, self._patience.probe_timeout_s, self.noun) as probe:
            while not await probe.healthy():
                await asyncio.wait([child.exited], timeout=HEALTH_INTERVAL_S)
                if child.exited.done():
                    await child.ended()
                    raise self.gave_up(child)
            models = await self.greet(probe)
        self._change(EngineState.READY, models=models, reason="")
        return address

    async def _watch(self, child: C, address: str) -> str:
        """Returns when the child ended, or hangs."""
        failed = 0
        async with Probe(address, self._patience.probe_timeout_s, self.noun) as probe:
            while failed < self._patience.probe_failures:
                await asyncio.wait([child.exited], timeout=self._patience.probe_interval_s)
                if child.exited.done():
                    return child.epitaph()
                failed = 0 if await probe.healthy() else failed + 1
        return f"{self.noun} hangs: {failed} health probes in a row failed"

    def _log_line(self, line: str) -> None:
        log.debug("%s: %s", self._name, line)

    def _change(self, state: EngineState, **fields: object) -> None:
        after = msgspec.structs.replace(self._status, state=state, **fields)
        if after != self._status:
            self._status = after
            self._on_change(after)
