"""Engines that Penstock runs itself, as members of the fleet."""

import asyncio
import os
from collections.abc import Callable, Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Protocol

import httpx
import msgspec

from penstock.config.engines import LlamaCpp, Vllm
from penstock.core.clock import wall
from penstock.core.endpoint import Endpoint, EngineState
from penstock.core.load import Load
from penstock.engines.llamacpp.settings import LlamaCppSettings
from penstock.engines.llamacpp.supervise import LlamaCppProcess
from penstock.engines.lora import adapters_of
from penstock.engines.process.status import ProcessStatus
from penstock.engines.vllm.settings import VllmSettings
from penstock.engines.vllm.supervise import VllmProcess
from penstock.gateway.fleet import PROBE_TIMEOUT_S, Member, read_models
from penstock.gateway.scrape import Scraper

MODELS_INTERVAL_S = 5.0
"""Between two looks at the models of a running engine: adapters come and go."""


class Process(Protocol):
    """A supervised child. See `engines.process.supervise.Supervised`."""

    @property
    def status(self) -> ProcessStatus: ...

    async def run(self) -> None: ...


class ManagedMember:
    """An engine in a child process. `start` makes its process, given what to call on every change."""

    def __init__(
        self,
        endpoint: Endpoint,
        start: Callable[[Callable[[ProcessStatus], None]], Process],
        on_change: Callable[[], None],
        interval_s: float,
    ) -> None:
        self.name = endpoint.name
        self.api_key = ""
        self._on_change = on_change
        self._since = wall()
        self._scraper = Scraper(endpoint.kind, interval_s)
        self._endpoint = endpoint
        self._process = start(self._changed)

    @property
    def members(self) -> Sequence[Member]:
        return (self,)

    @property
    def load(self) -> Load | None:
        return self._scraper.load

    @property
    def endpoint(self) -> Endpoint:
        return self._endpoint

    def _changed(self, status: ProcessStatus) -> None:
        # The models stay known while it restarts: their requests get a 503, not a 404.
        models = status.models or self._endpoint.models
        self._become(
            status.state, status.address, models, status.reason, kv_events=status.kv_events, kv_replay=status.kv_replay
        )

    def _become(self, state: EngineState, url: str, models: dict[str, bytes], reason: str, **more: str) -> None:
        endpoint = msgspec.structs.replace(
            self._endpoint,
            state=state,
            url=url,
            models=models,
            adapters=frozenset(adapters_of(models)),
            reason=reason,
            **more,
        )
        if endpoint.state is not self._endpoint.state:
            self._since = wall()
        if endpoint != self._endpoint:
            self._endpoint = endpoint
            self._on_change()

    def describe(self) -> dict[str, object]:
        status = self._process.status
        return {
            "since": self._since,
            "last_error": status.reason or None,
            "restarts": status.restarts,
            "pid": status.pid or None,
            "version": status.version or None,
        }

    async def run(self) -> None:
        async with httpx.AsyncClient(timeout=PROBE_TIMEOUT_S) as client, asyncio.TaskGroup() as tasks:
            watching = (
                tasks.create_task(self._scraper.run(client, self._metrics)),
                tasks.create_task(self._watch_models(client)),
            )
            await self._process.run()
            for task in watching:
                task.cancel()

    def _metrics(self) -> str:
        return f"{self._endpoint.url}/metrics" if self._endpoint.ready else ""

    async def _watch_models(self, client: httpx.AsyncClient) -> None:
        while True:
            await asyncio.sleep(MODELS_INTERVAL_S)
            await self._read_models(client)

    async def look_again(self) -> None:
        async with httpx.AsyncClient(timeout=PROBE_TIMEOUT_S) as client:
            await self._read_models(client)

    async def _read_models(self, client: httpx.AsyncClient) -> None:
        endpoint = self._endpoint
        if not endpoint.ready:
            return
        try:
            answer = await client.get(f"{endpoint.url}/v1/models")
            models = read_models(answer.content)
        except (httpx.HTTPError, msgspec.MsgspecError):
            return  # whether it lives is for its supervisor to find out
        if endpoint is self._endpoint and models:
            self._become(endpoint.state, endpoint.url, models, endpoint.reason)


def llamacpp_member(
    settings: LlamaCpp, model_path: Path, on_change: Callable[[], None], environ: Mapping[str, str], interval_s: float
) -> ManagedMember:
    """llama.cpp in a child process."""

    def start(changed: Callable[[ProcessStatus], None]) -> Process:
        return LlamaCppProcess(
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
            lambda status: changed(msgspec.structs.replace(status, version=library())),
            environ,
            len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1,
        )

    endpoint = Endpoint(
        settings.name,
        "llamacpp",
        EngineState.STOPPED,
        pool=settings.pool,
        cost=settings.cost,
        # Beyond its slots requests wait in llama.cpp's server, where they cannot be ordered and a client that leaves is
        # not noticed before its request has begun.
        max_in_flight=settings.max_in_flight or settings.slots,
    )
    return ManagedMember(endpoint, start, on_change, interval_s)


def vllm_member(
    settings: Vllm,
    on_change: Callable[[], None],
    environ: Mapping[str, str],
    cache: Path,
    interval_s: float,
    *,
    kv_events: bool = False,
) -> ManagedMember:
    """`vllm serve` in a child process. `cache`: where what an installed version says of its flags is kept."""

    def start(changed: Callable[[ProcessStatus], None]) -> Process:
        return VllmProcess(
            VllmSettings(
                name=settings.name,
                model=settings.model,
                executable=settings.executable,
                served_name=settings.served_name,
                flags=dict(settings.flags),
                environment=settings.environment,
                adapters=settings.adapters,
                kv_events=kv_events,
                startup_timeout_s=settings.startup_timeout,
                stop_timeout_s=settings.stop_timeout,
            ),
            changed,
            environ,
            cache,
        )

    endpoint = Endpoint(
        settings.name,
        "vllm",
        EngineState.STOPPED,
        pool=settings.pool,
        role=settings.role,
        cost=settings.cost,
        max_in_flight=settings.max_in_flight,
    )
    return ManagedMember(endpoint, start, on_change, interval_s)


def library() -> str:
    """Name and version of the llama.cpp wheel; empty when it is not installed."""
    try:
        return f"xllamacpp {version('xllamacpp')}"
    except PackageNotFoundError:
        return ""


def alias_of(reference: str, model_path: Path) -> str:
    """The model name for clients: a known model's name as it stands, else the file's name without its suffix."""
    return reference if reference.replace("-", "").replace(".", "").isalnum() else model_path.stem
