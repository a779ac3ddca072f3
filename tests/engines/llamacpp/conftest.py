"""A real model, and a supervised real llama.cpp."""

import asyncio
import os
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path

import pytest

from penstock.core.endpoint import EngineState
from penstock.engines.llamacpp.settings import LlamaCppSettings
from penstock.engines.llamacpp.status import LlamaCppStatus, Patience
from penstock.engines.llamacpp.supervise import LlamaCppProcess
from penstock.engines.models.known import DEFAULT
from penstock.engines.models.progress import Silent
from penstock.engines.models.sources import sources
from penstock.engines.models.store import Store, cache_folder

PATIENT = Patience(stop_timeout_s=2.0, restart_base_s=0.05)
HASTY = Patience(probe_interval_s=0.1, probe_timeout_s=0.5, probe_failures=4, stop_timeout_s=2.0, restart_base_s=0.05)


@pytest.fixture(scope="session")
def model_path() -> Path:
    """The default model, pulled into the user's cache when it is not there."""
    return Store(cache_folder(os.environ, Path.home()), sources(os.environ)).pull(DEFAULT, Silent()).path


class Watched:
    """A supervised engine, and everything it told."""

    def __init__(self, settings: LlamaCppSettings, patience: Patience) -> None:
        self.told: list[LlamaCppStatus] = []
        self._news = asyncio.Event()
        self.process = LlamaCppProcess(settings, self._note, os.environ, cores=2, patience=patience)

    def _note(self, status: LlamaCppStatus) -> None:
        self.told.append(status)
        self._news.set()

    @property
    def status(self) -> LlamaCppStatus:
        return self.process.status

    @property
    def states(self) -> list[EngineState]:
        """The states it went through, repetitions removed."""
        states: list[EngineState] = []
        for status in self.told:
            if not states or states[-1] is not status.state:
                states.append(status.state)
        return states

    async def until(self, wanted: Callable[[LlamaCppStatus], bool], timeout_s: float = 20.0) -> LlamaCppStatus:
        async with asyncio.timeout(timeout_s):
            while not wanted(self.status):
                self._news.clear()
                await self._news.wait()
        return self.status


@pytest.fixture
def settings(model_path: Path) -> LlamaCppSettings:
    return LlamaCppSettings(name="local", model_path=str(model_path), alias="smol", startup_timeout_s=30.0)


@asynccontextmanager
async def _watched(settings: LlamaCppSettings, hasty: bool = False) -> AsyncIterator[Watched]:
    engine = Watched(settings, HASTY if hasty else PATIENT)
    await engine.process.start()
    try:
        yield engine
    finally:
        await engine.process.stop()


@pytest.fixture
def watched() -> Callable[..., AbstractAsyncContextManager[Watched]]:
    """`async with watched(settings) as engine:` supervises a child until the block ends; `hasty` finds hangs fast."""
    return _watched
