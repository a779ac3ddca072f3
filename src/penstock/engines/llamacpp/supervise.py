"""Keeps one llama.cpp child alive: start, warm-up, probes, restart with back-off, stop.

Everything is awaited in the supervisor's loop; whatever the child does, here it is a status.
"""

import asyncio
import logging
import os
from collections.abc import Callable, Mapping

import msgspec

from penstock.core.clock import monotonic, wall
from penstock.core.endpoint import EngineState
from penstock.core.errors import ModelError
from penstock.core.tasks import Tasks
from penstock.engines.llamacpp.backoff import failures_after, restart_delay_s
from penstock.engines.llamacpp.probe import Probe
from penstock.engines.llamacpp.settings import Launch, LlamaCppSettings
from penstock.engines.llamacpp.spawn import Child
from penstock.engines.llamacpp.status import LlamaCppStatus, Patience

log = logging.getLogger("penstock.llamacpp")

HEALTH_INTERVAL_S = 0.05
"""Between two questions while it starts."""

OnChange = Callable[[LlamaCppStatus], None]


class _Hopeless(Exception):
    """Another start would fail the same way."""


class LlamaCppProcess:
    """One embedded engine. `run` until cancelled, or `start` and later `stop`."""

    def __init__(
        self,
        settings: LlamaCppSettings,
        on_change: OnChange,
        environ: Mapping[str, str],
        cores: int,
        patience: Patience | None = None,
    ) -> None:
        self._settings = settings
        self._on_change = on_change
        self._environ = environ
        self._cores = cores
        self._patience = patience or Patience()
        self._status = LlamaCppStatus(EngineState.STOPPED)
        self._ready_for_s = 0.0
        self._was_ready = False
        self._tasks = Tasks()

    @property
    def status(self) -> LlamaCppStatus:
        return self._status

    async def start(self) -> None:
        """Begins supervision and returns at once; `on_change` tells what comes of it."""
        self._tasks.spawn(self.run())

    async def stop(self) -> None:
        """Ends child and supervision; bounded by `Patience.stop_timeout_s`. Idempotent."""
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
                    raise _Hopeless(reason)
                delay_s = restart_delay_s(failures, self._patience.restart_base_s, self._patience.restart_cap_s)
                log.warning("engine %s: %s; next start in %.2f s", self._settings.name, reason, delay_s)
                self._change(EngineState.RESTARTING, reason=reason, address="", pid=0, models={})
                await asyncio.sleep(delay_s)
                self._change(EngineState.RESTARTING, restarts=self._status.restarts + 1)
        except _Hopeless as error:
            log.error("engine %s cannot start: %s", self._settings.name, error)
            self._change(EngineState.FAILED, reason=str(error), address="", pid=0, models={})
            await asyncio.Event().wait()
        finally:
            self._change(EngineState.STOPPED, address="", pid=0, models={})

    async def _live(self) -> str:
        """One child from start to end. Returns why it ended; raises _Hopeless."""
        self._ready_for_s = 0.0
        launch = Launch(self._settings, self._cores)
        try:
            child = await Child.spawn(launch, os.getpid(), self._environ, self._log_line)
        except OSError as error:
            return f"the child process cannot be started: {error}"
        try:
            self._change(self._status.state, pid=child.pid, started_at=wall())
            return await self._use(child)
        except asyncio.CancelledError:
            self._change(EngineState.STOPPING)
            raise
        finally:
            # A hung or unready child has nothing to finish; only a wanted stop is a polite one.
            wanted = self._status.state is EngineState.STOPPING
            await child.stop(self._patience.stop_timeout_s if wanted else 0.0)

    async def _use(self, child: Child) -> str:
        """From the first line to the end of the child or of our patience with it."""
        timeout_s = self._settings.startup_timeout_s
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

    async def _get_ready(self, child: Child) -> str:
        """Waits for the address, warms up, announces READY. Raises ModelError, _Hopeless."""
        hello = await child.hello()
        if hello.fatal:
            raise _Hopeless(hello.error)
        if not hello.ready:
            raise ModelError(hello.error)
        restarting = self._status.state is EngineState.RESTARTING
        state = EngineState.RESTARTING if restarting else EngineState.WARMING
        self._change(state, address=hello.address)
        async with Probe(hello.address, self._patience.probe_timeout_s) as probe:
            while not await probe.healthy():
                await asyncio.wait([child.exited], timeout=HEALTH_INTERVAL_S)
                if child.exited.done():
                    raise ModelError(child.epitaph())
            await probe.warm_up(self._settings.alias)
            models = await probe.models()
        self._change(EngineState.READY, models=models, reason="")
        return hello.address

    async def _watch(self, child: Child, address: str) -> str:
        """Returns when the child ended, or hangs."""
        failed = 0
        async with Probe(address, self._patience.probe_timeout_s) as probe:
            while failed < self._patience.probe_failures:
                await asyncio.wait([child.exited], timeout=self._patience.probe_interval_s)
                if child.exited.done():
                    return child.epitaph()
                failed = 0 if await probe.healthy() else failed + 1
        return f"llama.cpp hangs: {failed} health probes in a row failed"

    def _log_line(self, line: str) -> None:
        log.debug("%s: %s", self._settings.name, line)

    def _change(self, state: EngineState, **fields: object) -> None:
        after = msgspec.structs.replace(self._status, state=state, **fields)
        if after != self._status:
            self._status = after
            self._on_change(after)
