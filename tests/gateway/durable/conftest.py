"""The listener and a puller over a broker inside the test, and a gateway that does what a test says."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import httpx
import pytest

from penstock.gateway.durable.app import Listener, Metrics, create_app
from penstock.gateway.durable.callers import Callers
from penstock.gateway.durable.counts import Counts
from penstock.gateway.durable.desk import Desk
from penstock.gateway.durable.puller import Puller
from penstock.gateway.durable.settings import Settings
from tests.faults.upstream import Call, Script, Upstream
from tests.state.queue.memory import MemoryBroker

AUTH = {"authorization": "Bearer k"}


@dataclass
class Service:
    """All of it, running."""

    client: httpx.AsyncClient
    broker: MemoryBroker
    upstream: Upstream
    counts: Counts
    puller: Puller

    async def post(self, **more: Any) -> httpx.Response:
        given: dict[str, Any] = {"json": {"model": "m", "messages": []}, "headers": AUTH} | more
        return await self.client.post("/v1/chat/completions", **given)

    async def queued(self, **more: Any) -> str:
        """The id of a request that was accepted."""
        answer = await self.post(**more)
        assert answer.status_code == 202, answer.text
        id_: str = answer.json()["id"]
        assert answer.headers["location"] == f"/v1/queue/{id_}"
        return id_

    async def get(self, id_: str, wait: float = 10.0, **more: Any) -> httpx.Response:
        return await self.client.get(f"/v1/queue/{id_}?wait={wait:g}", **({"headers": AUTH} | more))

    async def status(self, id_: str) -> dict[str, Any]:
        found: dict[str, Any] = (await self.client.get(f"/v1/queue/{id_}/status", headers=AUTH)).json()
        return found


async def knows_k(call: Call) -> None:
    """A gateway with one key, and an answer for everybody who shows it."""
    if call.header(b"authorization") != b"Bearer k":
        await call.json({"error": {"message": "no", "type": "x", "param": None, "code": "y"}}, b"401 Unauthorized")
    elif call.method == b"GET":
        await call.json({"object": "list", "data": []})
    else:
        await call.answer()


def asked(script: Script) -> Script:
    """The script for requests; questions about a key are answered by the gateway that knows one."""

    async def run(call: Call) -> None:
        await (script(call) if call.method == b"POST" else knows_k(call))

    return run


Serve = Callable[..., Any]


@asynccontextmanager
async def service(
    script: Script = knows_k, *, broker: MemoryBroker | None = None, pull: bool = True, **more: Any
) -> AsyncIterator[Service]:
    broker = broker or MemoryBroker(time.time)
    before = None
    async with Upstream(asked(script), before_body=before) as upstream:
        settings = Settings(upstream.url, **({"concurrency": 4, "drain_s": 0.2, "silent_s": broker.silent_s} | more))
        counts, callers = Counts(), Callers(settings.gateway)
        puller = Puller(broker, settings, time.time, counts)
        desk = Desk(broker, time.time, counts, settings.expires_s)
        listener = Listener(desk, broker, callers, settings)
        app = create_app(listener, Metrics(broker, counts, puller, time.time))
        pulling = asyncio.ensure_future(puller.run()) if pull else None
        transport = httpx.ASGITransport(app)
        try:
            async with httpx.AsyncClient(transport=transport, base_url="http://queue", timeout=20) as client:
                yield Service(client, broker, upstream, counts, puller)
        finally:
            puller.stop()
            if pulling is not None:
                await pulling
            await callers.close()


@pytest.fixture
def anyio_backend_name() -> str:
    return "asyncio"
