"""A real vLLM behind the gateway, and a real Prometheus that reads its metrics."""

import asyncio
import json
import shutil
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.real.conftest import became
from tests.worlds.platform import Platform, up

pytestmark = [pytest.mark.anyio, pytest.mark.real]
MODEL = "smollm2"
RUNNING = "vllm:num_requests_running"
MESSAGES: Any = [{"role": "user", "content": "Tell me about rivers."}]


@pytest.fixture(scope="module")
async def platform(vllm: str, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Platform]:
    engine = {"kind": "http", "name": "vllm", "url": vllm, "probe_interval": 1.0}
    async with up(tmp_path_factory.mktemp("platform"), {"engines": [engine]}) as running:
        yield running


async def test_a_streamed_chat_gives_text_and_usage(platform: Platform) -> None:
    async with platform.openai() as client:
        assert [model.id async for model in await client.models.list()] == [MODEL]
        stream = await client.chat.completions.create(
            model=MODEL, messages=MESSAGES, max_tokens=16, stream=True, stream_options={"include_usage": True}
        )
        parts = [part async for part in stream]
    assert "".join(part.choices[0].delta.content or "" for part in parts if part.choices).strip()
    usage = parts[-1].usage
    assert usage is not None
    assert 0 < usage.completion_tokens <= 16
    record = (await platform.ended(await platform.so_far()))[-1]
    assert (record["outcome"], record["tokens_source"], record["stream"]) == ("success", "usage", True)
    assert (record["input_tokens"], record["output_tokens"]) == (usage.prompt_tokens, usage.completion_tokens)


async def test_errors_of_the_engine_pass_unchanged(platform: Platform, vllm: str) -> None:
    wrong = {"model": MODEL, "messages": MESSAGES, "temperature": "hot"}
    async with platform.http() as through, httpx.AsyncClient(base_url=vllm, trust_env=False) as straight:
        seen = [await client.post("/v1/chat/completions", json=wrong) for client in (straight, through)]
    assert seen[0].status_code == seen[1].status_code == 400
    assert seen[0].json() == seen[1].json()


@pytest.mark.parametrize("stream", [True, False], ids=["stream", "whole"])
async def test_a_client_that_leaves_frees_the_engine(platform: Platform, vllm: str, stream: bool) -> None:
    async with platform.openai() as client, asyncio.TaskGroup() as group:
        asking = group.create_task(
            client.chat.completions.create(
                model=MODEL, messages=MESSAGES, max_tokens=3000, stream=stream, extra_body={"ignore_eos": True}
            )
        )
        await became(vllm, RUNNING, 1, within_s=120)  # told with its first token, late where others have the cores
        if stream:
            answer: Any = await asking
            await anext(aiter(answer))
            await answer.close()
        else:
            asking.cancel()
        assert await became(vllm, RUNNING, 0) < 1
    last = (await platform.ended(await platform.so_far()))[-1]
    assert (last["outcome"], last["status"]) == ("client_left", 499)


@asynccontextmanager
async def prometheus(folder: Path, port: int, target: str) -> AsyncIterator[httpx.AsyncClient]:
    """A Prometheus that scrapes `target` every second, and a client of its API."""
    binary = shutil.which("prometheus")
    assert binary, "prometheus is missing; on Debian or Ubuntu: apt-get install prometheus"
    jobs = [{"job_name": "penstock", "static_configs": [{"targets": [target]}]}]
    config = folder / "prometheus.yml"
    config.write_text(json.dumps({"global": {"scrape_interval": "1s"}, "scrape_configs": jobs}))
    with (folder / "prometheus.log").open("wb") as log:
        process = await asyncio.create_subprocess_exec(
            binary,
            f"--config.file={config}",
            f"--storage.tsdb.path={folder / 'data'}",
            f"--web.listen-address=127.0.0.1:{port}",
            stdout=log,
            stderr=log,
        )
    try:
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}/api/v1", trust_env=False) as client:
            yield client
    finally:
        process.terminate()
        await process.wait()


async def value_of(client: httpx.AsyncClient, query: str) -> float | None:
    """The value of a query with one result; None while there is none."""
    try:
        result = (await client.get("/query", params={"query": query})).raise_for_status().json()["data"]["result"]
    except httpx.HTTPError:
        return None  # it is starting
    return float(result[0]["value"][1]) if result else None


async def test_prometheus_scrapes_and_answers(platform: Platform, free_port: Callable[[], int], tmp_path: Path) -> None:
    target = platform.admin.removeprefix("http://")
    async with prometheus(tmp_path, free_port(), target) as client:
        queries = {
            'sum(penstock_requests_total{engine="vllm",outcome="success"})': lambda value: value >= 1,
            'penstock_engine_ready{engine="vllm"}': lambda value: value == 1,
            "sum(penstock_output_tokens_total)": lambda value: value > 0,
            "histogram_quantile(0.9, sum by (le) (penstock_time_to_first_token_seconds_bucket))": lambda value: (
                value > 0
            ),
            'sum(penstock_time_to_first_token_seconds_bucket{le="0.25"})': lambda value: value >= 0,
            'up{job="penstock"}': lambda value: value == 1,
        }
        async with asyncio.timeout(30):
            for query, right in queries.items():
                while (value := await value_of(client, query)) is None:  # noqa: ASYNC110 - another process's news
                    await asyncio.sleep(0.1)
                assert right(value), (query, value)


async def test_promtool_finds_nothing_to_mend(platform: Platform) -> None:
    promtool = shutil.which("promtool")
    assert promtool, "promtool is missing; on Debian or Ubuntu: apt-get install prometheus"
    process = await asyncio.create_subprocess_exec(
        promtool, "check", "metrics", stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )  # fmt: skip
    said, _ = await process.communicate((await platform.ask_admin("/metrics")).content)
    assert (process.returncode, said) == (0, b"")
