"""Real servers, each started once."""

import asyncio
import os
import signal
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.real.servers import postgres_server, redis_server

__all__ = ["postgres_server", "redis_server", "vllm"]

SCRIPT = Path(__file__).with_name("vllm.sh")
READY_WITHIN_S = 600.0
"""Installing takes minutes the first time, starting 60 to 90 s every time."""


@pytest.fixture(scope="session")
async def vllm(tmp_path_factory: pytest.TempPathFactory, free_port: Callable[[], int]) -> AsyncIterator[str]:
    """The base URL of a vLLM that serves `smollm2`."""
    path = tmp_path_factory.mktemp("vllm") / "log"
    with path.open("wb") as log:
        installing = await asyncio.create_subprocess_exec(SCRIPT, "install", stdout=log, stderr=log)
        assert await installing.wait() == 0, tail(path)
        port = free_port()
        serving = await asyncio.create_subprocess_exec(
            SCRIPT, "serve", str(port), stdout=log, stderr=log, start_new_session=True
        )
        url = f"http://127.0.0.1:{port}"
        try:
            async with asyncio.timeout(READY_WITHIN_S), httpx.AsyncClient(trust_env=False) as client:
                while not await healthy(client, url):
                    assert serving.returncode is None, tail(path)
                    await asyncio.sleep(0.5)
            yield url
        finally:
            if serving.returncode is None:
                os.killpg(serving.pid, signal.SIGTERM)
            await serving.wait()


def tail(log: Path) -> str:
    return log.read_text()[-4000:]


async def healthy(client: httpx.AsyncClient, url: str) -> bool:
    try:
        return (await client.get(f"{url}/health")).status_code == 200
    except httpx.TransportError:
        return False


async def counted(url: str, *names: str) -> dict[str, float]:
    """Metrics of a vLLM: sums over their labels."""
    async with httpx.AsyncClient(trust_env=False, timeout=30.0) as client:
        text = (await client.get(f"{url}/metrics")).text
    found = dict.fromkeys(names, 0.0)
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            if sample.name in found:
                found[sample.name] += sample.value
    return found


async def became(url: str, name: str, expected: float, within_s: float = 30.0) -> float:
    """Waits for a metric of a vLLM, which writes some of them at intervals; seconds it took."""
    begun = time.monotonic()
    while (found := (await counted(url, name))[name]) != expected:
        assert time.monotonic() - begun < within_s, f"{name} is {found:g}, not {expected:g}"
        await asyncio.sleep(0.2)
    return time.monotonic() - begun
