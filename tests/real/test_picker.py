"""The picker behind a real Envoy, in front of two real llama.cpp engines."""

import asyncio
import json
import os
import signal
import sys
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import msgspec
import pytest
from openai import AsyncOpenAI

from penstock.engines.llamacpp.settings import Hello, Launch, LlamaCppSettings
from tests.real.envoy import SERVED, SUBSET, by_header, by_metadata, envoy, listener, picker_cluster

pytestmark = [pytest.mark.anyio, pytest.mark.real]
MODEL = "smollm2"
LONG = "In the year of the flood the river rose above the bridge and the mill stood still for a week. " * 12
RECOVERED_S = 15.0


class Engine:
    """A llama.cpp child on a port of its own."""

    def __init__(self, model_path: Path, port: int) -> None:
        self.port = port
        self.name = f"127.0.0.1:{port}"
        settings = LlamaCppSettings(name=MODEL, model_path=str(model_path), alias=MODEL, slots=2, threads=1)
        self._launch = msgspec.json.encode(Launch(settings, cores=2, port=port)) + b"\n"
        self.process: asyncio.subprocess.Process | None = None

    async def start(self) -> None:
        self.process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "penstock.engines.llamacpp.child", str(os.getpid()),
            stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.DEVNULL,
        )  # fmt: skip
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(self._launch)
        async with asyncio.timeout(60):
            hello = msgspec.json.decode(await self.process.stdout.readline(), type=Hello)
        assert hello.ready, hello.error

    async def kill(self) -> None:
        if self.process is not None and self.process.returncode is None:
            self.process.send_signal(signal.SIGKILL)
            await self.process.wait()


@asynccontextmanager
async def picker(folder: Path, engines: list[Engine], *options: str) -> AsyncIterator[int]:
    """`penstock picker` in front of `engines`; its port."""
    config = folder / "penstock.yaml"
    rows = [
        {"kind": "http", "name": f"e{n}", "url": f"http://{e.name}", "probe_interval": 1} for n, e in enumerate(engines)
    ]
    config.write_text(json.dumps({"engines": rows}))
    with (folder / "picker.log").open("wb") as log:
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "penstock", "picker", "-c", config, "--port", "0", "-v", *options,
            stdout=asyncio.subprocess.PIPE, stderr=log,
        )  # fmt: skip
    assert process.stdout is not None
    try:
        async with asyncio.timeout(20):
            line = (await process.stdout.readline()).decode()
        assert "Picking on" in line, (folder / "picker.log").read_text()[-4000:]
        yield int(line.partition(";")[0].rpartition(":")[2])
    finally:
        if process.returncode is None:
            process.terminate()
        async with asyncio.timeout(40):
            assert await process.wait() == 0, (folder / "picker.log").read_text()[-4000:]


@pytest.fixture(scope="module")
async def engines(model_path: Path, free_port: Callable[[], int]) -> AsyncIterator[list[Engine]]:
    pair = [Engine(model_path, free_port()) for _ in range(2)]
    try:
        for engine in pair:
            await engine.start()
        yield pair
    finally:
        for engine in pair:
            await engine.kill()


@pytest.fixture(scope="module", params=["duplex_by_header", "buffered_by_metadata"])
async def proxy(
    request: pytest.FixtureRequest,
    engines: list[Engine],
    free_port: Callable[[], int],
    tmp_path_factory: pytest.TempPathFactory,
) -> AsyncIterator[httpx.AsyncClient]:
    """A client of an Envoy that asks a picker: bodies streamed both ways and the address taken from the header, or
    bodies buffered and addresses taken from the metadata with one retry."""
    folder = tmp_path_factory.mktemp(request.param)
    duplex = request.param == "duplex_by_header"
    modes = ("FULL_DUPLEX_STREAMED", "FULL_DUPLEX_STREAMED") if duplex else ("BUFFERED", "STREAMED")
    cluster = by_header() if duplex else by_metadata([engine.port for engine in engines])
    retries = 0 if duplex else 1
    async with (
        picker(folder, engines, "--fallbacks", str(retries)) as port,
        envoy(folder, listener(free_port(), *modes, retries), cluster, picker_cluster(port)) as client,
    ):
        await all_answer(client, engines)
        yield client


async def all_answer(client: httpx.AsyncClient, engines: list[Engine]) -> None:
    """Waits until the picker sends requests to each engine when told to."""
    async with asyncio.timeout(RECOVERED_S):
        for engine in engines:
            while (await say(client, "Hi", **{SUBSET: engine.name})).status_code != 200:  # noqa: ASYNC110 - another process's news
                await asyncio.sleep(0.1)


async def say(client: httpx.AsyncClient, text: str, tokens: int = 4, model: str = MODEL, **headers: str) -> Any:
    body = {"model": model, "max_tokens": tokens, "messages": [{"role": "user", "content": text}]}
    return await client.post("/v1/chat/completions", json=body, headers=headers)


async def test_one_prefix_sticks_to_one_engine_and_finds_its_cache(proxy: httpx.AsyncClient) -> None:
    answers = [await say(proxy, f"{LONG} Question {number}?") for number in range(6)]
    assert [answer.status_code for answer in answers] == [200] * 6
    assert len({answer.headers[SERVED] for answer in answers}) == 1
    cached = [answer.json()["usage"]["prompt_tokens_details"]["cached_tokens"] for answer in answers]
    assert all(count > 150 for count in cached[1:]), cached


async def test_load_is_spread(proxy: httpx.AsyncClient, engines: list[Engine]) -> None:
    answers = await asyncio.gather(*(say(proxy, f"{number} is a number. Say more.", 24) for number in range(8)))
    served = Counter(answer.headers[SERVED] for answer in answers)
    assert set(served) == {engine.name for engine in engines}
    assert max(served.values()) <= 5, served


async def test_the_subset_is_honoured(proxy: httpx.AsyncClient, engines: list[Engine]) -> None:
    for engine in engines * 2:
        answer = await say(proxy, LONG, **{SUBSET: engine.name})
        assert (answer.status_code, answer.headers[SERVED]) == (200, engine.name)
    nobody = await say(proxy, LONG, **{SUBSET: "127.0.0.9:1"})
    assert (nobody.status_code, nobody.json()["error"]["code"]) == (503, "engine_unavailable")


async def test_a_client_cannot_name_the_engine(proxy: httpx.AsyncClient) -> None:
    answer = await say(proxy, "Hi", **{"x-gateway-destination-endpoint": "127.0.0.9:1"})
    assert answer.status_code == 200


async def test_refusals_are_errors_of_the_api(proxy: httpx.AsyncClient) -> None:
    answer = await say(proxy, "Hi", model="nobody-serves-this")
    assert (answer.status_code, answer.json()["error"]["code"]) == (404, "model_not_found")


async def test_streams_and_large_bodies_pass(proxy: httpx.AsyncClient) -> None:
    body = {
        "model": MODEL,
        "max_tokens": 24,
        "ignore_eos": True,
        "messages": [{"role": "user", "content": "Count to ten."}],
        "metadata": {"padding": "x" * 300_000},
        "stream": True,
        "stream_options": {"include_usage": True},
    }
    loop = asyncio.get_running_loop()
    times, text = [], ""
    async with proxy.stream("POST", "/v1/chat/completions", json=body) as answer:
        assert answer.status_code == 200
        async for piece in answer.aiter_text():
            times.append(loop.time())
            text += piece
    assert text.endswith("data: [DONE]\n\n")
    assert len(times) > 5
    assert times[-1] - times[0] > 0.02, "pieces come as they are made"


async def test_the_official_client_works(proxy: httpx.AsyncClient) -> None:
    client = AsyncOpenAI(base_url=f"{proxy.base_url}/v1", api_key="none", max_retries=0, http_client=proxy)
    assert [model.id async for model in await client.models.list()] == [MODEL]
    stream = await client.chat.completions.create(
        model=MODEL, max_tokens=8, messages=[{"role": "user", "content": "Hi"}], stream=True
    )
    assert [part async for part in stream]


async def test_a_dead_engine_is_avoided_and_comes_back(
    proxy: httpx.AsyncClient, engines: list[Engine], request: pytest.FixtureRequest
) -> None:
    victim = engines[0]
    first = (await say(proxy, LONG, **{SUBSET: victim.name})).status_code
    await victim.kill()
    statuses = []
    for number in range(6):
        statuses.append((await say(proxy, f"{LONG} After {number}.")).status_code)
        await asyncio.sleep(0.05)
    await victim.start()
    await all_answer(proxy, engines)
    assert first == 200
    refused = 0 if "buffered_by_metadata" in request.node.name else 1
    assert sorted(statuses)[:5] == [200] * 5, statuses
    assert statuses.count(503) <= refused, "one refusal is enough to leave it out"
