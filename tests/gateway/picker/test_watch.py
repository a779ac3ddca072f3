"""The engines as the picker sees them: addresses, models, loads, and those that nobody finds."""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager

import pytest

from penstock.config.engines import Http
from penstock.core.tasks import Tasks
from penstock.gateway.picker.watch import Watch
from penstock.policy.route.facts import EngineFacts
from tests.faults.world import until

pytestmark = pytest.mark.anyio
MODELS = b'{"object": "list", "data": [{"id": "m"}, {"id": "lora", "parent": "m"}]}'
METRICS = b"llamacpp:requests_processing 3\nllamacpp:requests_deferred 1\n"


@asynccontextmanager
async def engine(port: int = 0) -> AsyncIterator[int]:
    """Answers /v1/models and /metrics; its port."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n") if not reader.at_eof() else b""
        body = MODELS if b"/v1/models" in head else METRICS
        writer.write(b"HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: %d\r\n\r\n%s" % (len(body), body))
        await writer.drain()
        writer.close()

    async def served(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await answer(reader, writer)
        except (OSError, asyncio.IncompleteReadError):
            writer.close()

    server = await asyncio.start_server(served, "127.0.0.1", port)
    try:
        yield int(server.sockets[0].getsockname()[1])
    finally:
        server.close()


class Seen:
    """What a watch told last."""

    def __init__(self) -> None:
        self.engines: Sequence[EngineFacts] = ()
        self.models: frozenset[str] = frozenset()
        self.history: list[dict[str, float]] = []

    def take(self, engines: Sequence[EngineFacts], models: frozenset[str], _now: float) -> None:
        self.engines, self.models = engines, models
        self.history.append(self.weights)

    @property
    def weights(self) -> dict[str, float]:
        return {engine.name: engine.weight for engine in self.engines}


@asynccontextmanager
async def watching(*urls: str) -> AsyncIterator[tuple[Watch, Seen]]:
    seen = Seen()
    settings = [Http(name=f"e{n}", url=url, probe_interval=0.1) for n, url in enumerate(urls)]
    watch = Watch(settings, seen.take, 0.05, {})
    tasks = Tasks()
    tasks.spawn(watch.run())
    try:
        yield watch, seen
    finally:
        await tasks.cancel()


async def test_engines_are_known_by_address_with_models_and_load() -> None:
    async with engine() as port, watching(f"http://localhost:{port}/v1") as (watch, seen):
        assert not watch.settled
        await until(lambda: seen.engines and seen.engines[0].load)
        (found,) = seen.engines
        assert found.name == f"127.0.0.1:{port}"
        assert (found.models, found.adapters) == ({"m", "lora"}, {"lora"})
        assert found.load is not None
        assert (found.load.running, found.load.waiting) == (3, 1)
        assert watch.settled


async def test_an_engine_that_was_never_there_is_not_in_view() -> None:
    async with (
        engine() as port,
        watching(f"http://127.0.0.1:{port}", "http://127.0.0.1:9", "http://no.invalid") as told,
    ):
        watch, seen = told
        await until(lambda: watch.settled)
        assert list(seen.weights) == [f"127.0.0.1:{port}"]


async def test_a_doubted_engine_is_out_while_nobody_listens(free_port: Callable[[], int]) -> None:
    port = free_port()
    name = f"127.0.0.1:{port}"
    async with watching(f"http://{name}") as (watch, seen):
        async with engine(port):
            await until(lambda: seen.weights == {name: 1.0})
        watch.doubt(name)
        watch.doubt("10.9.9.9:1")
        await until(lambda: seen.weights in ({name: 0.0}, {}))
        async with engine(port):
            await until(lambda: seen.weights == {name: 1.0})


async def test_an_engine_doubted_without_cause_is_soon_back() -> None:
    async with engine() as port, watching(f"http://127.0.0.1:{port}") as (watch, seen):
        name = f"127.0.0.1:{port}"
        await until(lambda: seen.weights == {name: 1.0})
        seen.history.clear()
        watch.doubt(name)
        await until(lambda: {name: 0.0} in seen.history)
        await until(lambda: seen.weights == {name: 1.0})
