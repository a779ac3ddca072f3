"""Two real vLLMs that move KV blocks with NIXL: one reads a long prompt, the other answers without reading it."""

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from openai import APIError

from tests.real.conftest import READY_WITHIN_S, SCRIPT, became, counted, healthy, tail
from tests.worlds.platform import Platform, up

pytestmark = [pytest.mark.anyio, pytest.mark.real]
MODEL = "smollm2"
ENDS_WITHIN_S = 300.0
"""A first request compiles kernels."""
TIE = 0.3
"""Two tokens whose logarithms of probability are this close may change places: bfloat16 tells logits of 16 to 32 apart
in steps of 0.125, and a prompt read in other pieces is rounded otherwise."""


def messages(word: str) -> Any:
    """About 1,700 tokens."""
    return [{"role": "user", "content": f"Tell me about the {word} of the world, one after the other. " * 120}]


@asynccontextmanager
async def paired(folder: Path, number: int, free_port: Callable[[], int]) -> AsyncIterator[str]:
    """One of two vLLMs, on a core of its own where there are two; its base URL. It gives way to the gateway: two of
    them that compile leave no core to whoever else has to start."""
    port, log = free_port(), folder / f"vllm-{number}"
    core = number % (os.cpu_count() or 1)
    environment = os.environ | {
        "VLLM_NIXL_SIDE_CHANNEL_PORT": str(free_port()), "VLLM_CPU_KVCACHE_SPACE": "1",
        "VLLM_CPU_OMP_THREADS_BIND": str(core),
    }  # fmt: skip
    command = ("nice", SCRIPT, "pair", str(port), "--max-num-seqs", "8", "--enforce-eager")
    with log.open("wb") as file:
        serving = await asyncio.create_subprocess_exec(
            *command, stdout=file, stderr=file, start_new_session=True, env=environment
        )
    url = f"http://127.0.0.1:{port}"
    try:
        async with asyncio.timeout(READY_WITHIN_S), httpx.AsyncClient(trust_env=False) as client:
            while not await healthy(client, url):
                assert serving.returncode is None, tail(log)
                await asyncio.sleep(0.5)
        yield url
    finally:
        if serving.returncode is None:
            os.killpg(serving.pid, signal.SIGTERM)
        await serving.wait()


@pytest.fixture(scope="module")
async def pair(tmp_path_factory: pytest.TempPathFactory, free_port: Callable[[], int]) -> AsyncIterator[list[str]]:
    """Base URLs: of the one that reads prompts, of the one that answers."""
    folder = tmp_path_factory.mktemp("pair")
    installing = await asyncio.create_subprocess_exec(SCRIPT, "install")
    assert await installing.wait() == 0
    async with AsyncExitStack() as stack:
        starting = [stack.enter_async_context(paired(folder, number, free_port)) for number in range(2)]
        yield [await each for each in starting]


@pytest.fixture(scope="module")
async def platform(pair: list[str], tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Platform]:
    engines = [
        {"kind": "http", "name": name, "url": url, "role": role}
        for name, url, role in zip(("reads", "writes"), pair, ("prefill", "decode"), strict=True)
    ]
    timeouts = {"connect": 60.0, "first_byte": 2 * ENDS_WITHIN_S, "total": 2 * ENDS_WITHIN_S}
    config = {"engines": engines, "timeouts": timeouts}
    async with up(tmp_path_factory.mktemp("platform"), config, within=ENDS_WITHIN_S) as running:
        await running.engine_is("ready", 0)
        await running.engine_is("ready", 1)
        await warm(running)
        yield running


async def warm(platform: Platform) -> None:
    """Until a long chat was answered: the first ones compile kernels and make the engines known to each other, and two
    cores may stand still longer for that than clients wait."""
    fields: dict[str, Any] = {"model": MODEL, "messages": messages("valleys"), "max_tokens": 2}
    async with asyncio.timeout(2 * ENDS_WITHIN_S), platform.openai() as client:
        while True:
            try:
                await client.with_options(timeout=ENDS_WITHIN_S).chat.completions.create(**fields)
            except APIError:
                await asyncio.sleep(1.0)
            else:
                return


async def answer(platform: Platform, word: str, *, stream: bool) -> tuple[str, dict[str, Any], dict[str, Any]]:
    """The text, the Record and the account of one long chat."""
    before = await platform.so_far()
    fields: dict[str, Any] = {"model": MODEL, "messages": messages(word), "max_tokens": 12, "temperature": 0}
    async with platform.openai() as openai:
        client = openai.with_options(timeout=2 * ENDS_WITHIN_S)
        if stream:
            parts = await client.chat.completions.create(**fields, stream=True, stream_options={"include_usage": True})
            text = "".join([p.choices[0].delta.content or "" async for p in parts if p.choices])
        else:
            text = (await client.chat.completions.create(**fields)).choices[0].message.content or ""
    record = (await platform.ended(before + 1))[-1]
    row = await platform.why(record["id"])
    return text, record, row


def same_but_for_ties(text: str, tokens: list[dict[str, Any]]) -> bool:
    """Whether `text` is what an engine wrote, `tokens` with their likeliest alternatives, up to where another token was
    as likely; what follows such a token is another text."""
    for token in tokens:
        if not text.startswith(token["token"]):
            near = [each["token"] for each in token["top_logprobs"] if token["logprob"] - each["logprob"] <= TIE]
            return any(map(text.startswith, near))
        text = text.removeprefix(token["token"])
    return not text


BYTES = "vllm:nixl_bytes_transferred_sum"
COUNT = "vllm:nixl_bytes_transferred_count"
READ = "vllm:external_prefix_cache_hits_total"


@pytest.mark.parametrize(("stream", "word"), [(False, "rivers"), (True, "mountains")], ids=["whole", "stream"])
async def test_the_answer_is_written_from_blocks_that_another_engine_made(
    platform: Platform, pair: list[str], stream: bool, word: str
) -> None:
    before = await counted(pair[1], COUNT, READ)
    text, record, row = await answer(platform, word, stream=stream)
    assert text.strip()
    assert (record["outcome"], record["engine"], record["output_tokens"]) == ("success", "writes", 12)
    assert record["prefill"]["engine"] == "reads"
    assert record["prefill"]["outcome"] == "transferred"
    assert row["legs"]["first_leg"]["outcome"] == "transferred"
    await became(pair[1], COUNT, before[COUNT] + 1)
    after = await counted(pair[1], READ)
    assert after[READ] - before[READ] > 0.9 * record["input_tokens"]
    async with httpx.AsyncClient(base_url=pair[0], trust_env=False, timeout=ENDS_WITHIN_S) as straight:
        fields = {"model": MODEL, "messages": messages(word), "max_tokens": 12, "temperature": 0}
        told = fields | {"logprobs": True, "top_logprobs": 5}
        alone = (await straight.post("/v1/chat/completions", json=told)).json()
        other = (await straight.post("/v1/chat/completions", json=fields | {"messages": messages("deserts")})).json()
    written = alone["choices"][0]["logprobs"]["content"]
    assert same_but_for_ties(text, written), f"the blocks are those of this prompt: {text!r}, {written}"
    assert not same_but_for_ties(other["choices"][0]["message"]["content"], written), "another prompt's answer is told"


async def test_a_short_prompt_is_read_where_it_is_answered(platform: Platform, pair: list[str]) -> None:
    before = await counted(pair[1], COUNT)
    async with platform.openai() as client:
        hi: Any = [{"role": "user", "content": "Hi."}]
        await client.chat.completions.create(model=MODEL, messages=hi, max_tokens=2)
    assert "prefill" not in (await platform.ended(await platform.so_far()))[-1]
    assert await counted(pair[1], COUNT) == before
