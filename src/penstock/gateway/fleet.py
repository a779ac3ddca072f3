"""Engines as the supervisor keeps them: what answers, in which state, and since when."""

import asyncio
from collections.abc import Callable, Sequence
from typing import Protocol
from urllib.parse import urlsplit

import httpx
import msgspec

from penstock.config.engines import Remote
from penstock.core.clock import wall
from penstock.core.endpoint import Endpoint, EngineState
from penstock.core.load import Load
from penstock.engines.lora import adapters_of
from penstock.gateway.scrape import Scraper

PROBE_TIMEOUT_S = 5.0
TRTLLM_METRICS = "/prometheus/metrics"
"""trtllm-serve answers JSON at /metrics."""
FAILURES_TO_LEAVE = 2
"""Probes that must fail in a row before a ready engine is taken out; one may be lost."""


class Member(Protocol):
    """One engine of the fleet, whatever is behind it."""

    name: str
    api_key: str
    """What it wants to be asked with; empty when nothing."""

    @property
    def endpoint(self) -> Endpoint: ...

    @property
    def load(self) -> Load | None:
        """Its last reading; None when it tells nothing."""

    async def look_again(self) -> None:
        """Reads its models now."""

    def describe(self) -> dict[str, object]:
        """More for people: pid, restarts, since, last_error, version."""


class Group(Protocol):
    """What one entry of the config stands for: a single engine, or as many as are found."""

    @property
    def members(self) -> Sequence[Member]: ...

    async def run(self) -> None:
        """Keeps the members' states true until cancelled; whatever it started is gone when it returns."""


def base_url(url: str) -> str:
    """A configured URL without its trailing `/v1`: clients' paths bring that along."""
    return url.rstrip("/").removesuffix("/v1")


def at_host(address: str, url: str) -> str:
    """An address whose host may be `*`, which stands for the host of `url`."""
    host = urlsplit(url).hostname or ""
    return address.replace("*", f"[{host}]" if ":" in host else host)


def entry(model: str, owner: str) -> bytes:
    """A `/v1/models` entry for a model that no engine described."""
    return msgspec.json.encode({"id": model, "object": "model", "created": 0, "owned_by": owner})


class _ModelId(msgspec.Struct):
    id: str


class _ModelList(msgspec.Struct):
    data: list[msgspec.Raw]


def read_models(body: bytes) -> dict[str, bytes]:
    """Model id -> entry of a `/v1/models` answer. Raises msgspec.MsgspecError when it is none."""
    entries = msgspec.json.decode(body, type=_ModelList).data
    return {msgspec.json.decode(raw, type=_ModelId).id: bytes(raw) for raw in entries}


class HttpMember:
    """An engine started by somebody else: probed through /v1/models, which also says what it serves."""

    def __init__(self, name: str, url: str, settings: Remote, on_change: Callable[[], None], interval_s: float) -> None:
        self.name = name
        self.api_key = settings.api_key
        self._settings = settings
        self._on_change = on_change
        self._url = base_url(url)
        self._scraper = Scraper(settings.dialect, interval_s)
        self._since = wall()
        self._failures = 0
        self._last_error = ""
        self._endpoint = Endpoint(
            name,
            "http",
            EngineState.STARTING,
            self._url,
            self._configured(),
            pool=settings.pool,
            role=settings.role,
            cost=settings.cost,
            max_in_flight=settings.max_in_flight,
            kv_events=at_host(settings.kv_events, url),
            kv_replay=at_host(settings.kv_replay, url),
        )

    @property
    def endpoint(self) -> Endpoint:
        return self._endpoint

    @property
    def members(self) -> Sequence[Member]:
        return (self,)

    @property
    def load(self) -> Load | None:
        return self._scraper.load

    def _configured(self) -> dict[str, bytes]:
        return {model: entry(model, self.name) for model in self._settings.models}

    def describe(self) -> dict[str, object]:
        last_error = self._last_error or None
        version = self.load.version or None if self.load is not None else None
        return {"since": self._since, "last_error": last_error, "restarts": 0, "pid": None, "version": version}

    def _client(self) -> httpx.AsyncClient:
        headers = {"authorization": f"Bearer {self.api_key}"} if self.api_key else {}
        return httpx.AsyncClient(headers=headers, timeout=PROBE_TIMEOUT_S)

    async def look_again(self) -> None:
        async with self._client() as client:
            await self._probe(client)

    async def run(self) -> None:
        async with (
            self._client() as client,
            asyncio.TaskGroup() as tasks,
        ):
            if self._settings.metrics != "off" and self._settings.dialect != "none":
                tasks.create_task(self._scraper.run(client, self._metrics))
            while True:
                await self._probe(client)
                await asyncio.sleep(self._settings.probe_interval if self._endpoint.ready else 1.0)

    def _metrics(self) -> str:
        if self._settings.metrics:
            return self._settings.metrics
        return self._url + (TRTLLM_METRICS if self._settings.dialect == "trtllm" else "/metrics")

    async def _probe(self, client: httpx.AsyncClient) -> None:
        try:
            response = await client.get(f"{self._url}/v1/models")
            if response.status_code != 200:
                self._unwell(f"GET /v1/models answered {response.status_code}")
                return
            models = read_models(response.content)
        except httpx.HTTPError as error:
            self._unwell(f"{type(error).__name__}: {error}".rstrip(": "))
            return
        except msgspec.MsgspecError as error:
            self._unwell(f"GET /v1/models is not a model list: {error}")
            return
        if self._settings.models:
            models = {m: models.get(m) or entry(m, self.name) for m in self._settings.models}
        self._failures = 0
        self._last_error = ""
        self._become(EngineState.READY, models, "")

    def _unwell(self, reason: str) -> None:
        self._failures += 1
        self._last_error = reason
        if self._endpoint.ready and self._failures < FAILURES_TO_LEAVE:
            return
        self._become(EngineState.UNREACHABLE, self._endpoint.models, reason)

    def _become(self, state: EngineState, models: dict[str, bytes], reason: str) -> None:
        changed = msgspec.structs.replace(
            self._endpoint, state=state, models=models, adapters=frozenset(adapters_of(models)), reason=reason
        )
        if changed != self._endpoint:
            if state is not self._endpoint.state:
                self._since = wall()
            self._endpoint = changed
            self._on_change()
