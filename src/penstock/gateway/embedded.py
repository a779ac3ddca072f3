"""A llama.cpp child as a member of the fleet."""

import asyncio
import os
from collections.abc import Callable, Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import httpx
import msgspec

from penstock.config.engines import LlamaCpp
from penstock.core.clock import wall
from penstock.core.endpoint import Endpoint, EngineState
from penstock.core.load import Load
from penstock.engines.llamacpp.settings import LlamaCppSettings
from penstock.engines.llamacpp.status import LlamaCppStatus
from penstock.engines.llamacpp.supervise import LlamaCppProcess
from penstock.gateway.fleet import PROBE_TIMEOUT_S, Member
from penstock.gateway.scrape import Scraper


class LlamaCppMember:
    """An engine that Penstock runs itself."""

    def __init__(
        self,
        settings: LlamaCpp,
        model_path: Path,
        on_change: Callable[[], None],
        environ: Mapping[str, str],
        interval_s: float,
    ) -> None:
        self.name = settings.name
        self._on_change = on_change
        self._since = wall()
        self._scraper = Scraper("llamacpp", interval_s)
        self._endpoint = Endpoint(
            settings.name,
            "llamacpp",
            EngineState.STOPPED,
            pool=settings.pool,
            cost=settings.cost,
            max_in_flight=settings.max_in_flight,
        )
        self._process = LlamaCppProcess(
            LlamaCppSettings(
                name=settings.name,
                model_path=str(model_path),
                alias=settings.alias or alias_of(settings.model, model_path),
                context_tokens=settings.context_tokens,
                slots=settings.slots,
                threads=settings.threads,
                startup_timeout_s=settings.startup_timeout,
                extra=settings.extra,
            ),
            self._changed,
            environ,
            len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1,
        )

    @property
    def members(self) -> Sequence[Member]:
        return (self,)

    @property
    def load(self) -> Load | None:
        return self._scraper.load

    @property
    def endpoint(self) -> Endpoint:
        return self._endpoint

    def _changed(self, status: LlamaCppStatus) -> None:
        # The models stay known while it restarts: their requests get a 503, not a 404.
        models = status.models or self._endpoint.models
        endpoint = msgspec.structs.replace(
            self._endpoint, state=status.state, url=status.address, models=models, reason=status.reason
        )
        if endpoint.state is not self._endpoint.state:
            self._since = wall()
        if endpoint != self._endpoint:
            self._endpoint = endpoint
            self._on_change()

    def describe(self) -> dict[str, object]:
        status = self._process.status
        try:
            library = f"xllamacpp {version('xllamacpp')}"
        except PackageNotFoundError:
            library = None
        return {
            "since": self._since,
            "last_error": status.reason or None,
            "restarts": status.restarts,
            "pid": status.pid or None,
            "version": library,
        }

    async def run(self) -> None:
        async with httpx.AsyncClient(timeout=PROBE_TIMEOUT_S) as client, asyncio.TaskGroup() as tasks:
            scraping = tasks.create_task(self._scraper.run(client, self._metrics))
            await self._process.run()
            scraping.cancel()

    def _metrics(self) -> str:
        return f"{self._endpoint.url}/metrics" if self._endpoint.ready else ""


def alias_of(reference: str, model_path: Path) -> str:
    """The model name for clients: a known model's name as it stands, else the file's name without its suffix."""
    return reference if reference.replace("-", "").replace(".", "").isalnum() else model_path.stem
