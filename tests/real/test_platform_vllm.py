"""A whole platform over two real vLLMs that it manages: adapters are served, found again, loaded and taken away."""

import asyncio
import struct
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from benchmarks.routing.adapters import write_adapter
from tests.real.conftest import READY_WITHIN_S, SCRIPT
from tests.real.test_managed_vllm import DEPS
from tests.worlds.platform import Platform, up

pytestmark = [pytest.mark.anyio, pytest.mark.real]
MODEL = "smollm2"
ENGINES = ("left", "right")
ADAPTERS = ("red", "blue")
ASKED = 10
"""Requests per adapter of a measurement; a multiple of the engines, so that taking turns shares them evenly."""
ANSWER_S = 120.0
FLAGS = {
    "max-model-len": 512,
    "max-num-seqs": 4,
    "enforce-eager": True,
    "enable-lora": True,
    "max-loras": 1,
    "max-lora-rank": 8,
}


def engine(name: str, adapters: dict[str, str]) -> dict[str, Any]:
    return {
        "kind": "vllm",
        "name": name,
        "model": str(DEPS / "smollm2"),
        "served_name": MODEL,
        "executable": str(DEPS / "vllm" / "bin" / "vllm"),
        "flags": FLAGS,
        "environment": {"HF_HUB_OFFLINE": "1", "VLLM_CPU_KVCACHE_SPACE": "1"},
        "adapters": adapters,
        "stop_timeout": 5,
    }


@pytest.fixture(scope="module")
async def platform(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Platform]:
    """Two engines with the same two adapters, both ready. One platform for all tests: starting takes minutes."""
    installing = await asyncio.create_subprocess_exec(SCRIPT, "install")
    assert await installing.wait() == 0
    folder = tmp_path_factory.mktemp("platform")
    adapters = {name: str(write_adapter(folder / name, seed)) for seed, name in enumerate(ADAPTERS)}
    config = {
        "engines": [engine(name, adapters) for name in ENGINES],
        "routing": {"explain_headers": True},
        "resilience": {"slow_start": 0},
    }
    async with up(folder, config, within=READY_WITHIN_S) as platform:
        for index in range(len(ENGINES)):
            await platform.engine_is("ready", index, within=READY_WITHIN_S)
        yield platform


def at_leisure(address: str) -> httpx.AsyncClient:
    return httpx.AsyncClient(base_url=address, trust_env=False, timeout=ANSWER_S)


async def ask(client: httpx.AsyncClient, model: str, prompt: str = "The river", tokens: int = 8) -> httpx.Response:
    body = {"model": model, "prompt": prompt, "max_tokens": tokens, "temperature": 0, "ignore_eos": True}
    return await client.post("/v1/completions", json=body)


async def text_of(client: httpx.AsyncClient, model: str) -> str:
    answer = await ask(client, model)
    assert answer.status_code == 200, answer.text
    text: str = answer.json()["choices"][0]["text"]
    return text


async def listed(client: httpx.AsyncClient) -> set[str]:
    return {model["id"] for model in (await client.get("/v1/models")).json()["data"]}


def briefing(model: str) -> str:
    """What every prompt of one adapter's users begins with: more than a block of the prefix index, 100-odd tokens."""
    return f"You are the {model} assistant of a museum by the river. " + "Be brief, be kind, and never guess. " * 9


async def share_of_one(client: httpx.AsyncClient, model: str, salt: str) -> float:
    """Largest share of one engine among questions asked one after the other."""
    engines: Counter[str] = Counter()
    for number in range(ASKED):
        answer = await ask(client, model, f"{briefing(model)}Visitor {salt}{number}: where is room {number}?", tokens=2)
        assert answer.status_code == 200, answer.text
        engines[answer.headers["x-penstock-engine"]] += 1
    return max(engines.values()) / ASKED


async def test_each_adapter_answers_with_its_own_weights(platform: Platform) -> None:
    async with at_leisure(platform.api) as client:
        assert await listed(client) == {MODEL, *ADAPTERS}
        texts = {model: await text_of(client, model) for model in (MODEL, *ADAPTERS)}
        assert len(set(texts.values())) == 3, texts
        for model, text in texts.items():
            assert await text_of(client, model) == text


async def test_every_signal_of_an_engine_with_adapters_is_read(platform: Platform) -> None:
    """vLLM exports its adapter slots from its first step on, so each engine is given one."""
    async with at_leisure(platform.api) as client:
        reached: set[str] = set()
        for number in range(20):
            reached.add((await ask(client, MODEL, f"{number} boats", tokens=1)).headers["x-penstock-engine"])
            if reached == set(ENGINES):
                break
        assert reached == set(ENGINES)
    await asyncio.sleep(2.5)  # two readings
    for row in (await platform.ask_admin("/admin/engines")).json()["engines"]:
        load = row["load"]
        assert (load["dialect"], load["missing"]) == ("vllm", []), row
        assert load["adapter_slots"] == 1
        assert load["kv_capacity_tokens"] > 0
        assert load["prompt_tokens"] > 0
        assert row["adapters"] == sorted(ADAPTERS)


async def test_an_adapter_in_use_draws_its_requests(platform: Platform) -> None:
    """Prompts too short to have a prefix: what decides is where the adapter is in use."""
    async with at_leisure(platform.api) as client:
        for model in ADAPTERS:
            body = {"model": model, "prompt": "Once", "max_tokens": 400, "ignore_eos": True, "stream": True}
            async with client.stream("POST", "/v1/completions", json=body) as long:
                home = long.headers["x-penstock-engine"]
                places = [
                    (await ask(client, model, f"{number} ducks", tokens=1)).headers["x-penstock-engine"]
                    for number in range(6)
                ]
            assert places == [home] * 6


async def test_an_adapter_keeps_to_one_engine_where_taking_turns_scatters_it(platform: Platform) -> None:
    async with at_leisure(platform.api) as client:
        for model in ADAPTERS:
            await ask(client, model, briefing(model), tokens=1)
        kept = {model: await share_of_one(client, model, "A") for model in ADAPTERS}
    before = platform.config
    turns = before | {"routing": {"explain_headers": True, "policy": "round_robin"}}
    await platform.reload(turns, taken=True)
    try:
        async with at_leisure(platform.api) as client:
            scattered = {model: await share_of_one(client, model, "B") for model in ADAPTERS}
    finally:
        await platform.reload(before, taken=True)
    assert min(kept.values()) >= 0.8, (kept, scattered)
    assert max(scattered.values()) <= 0.6, (kept, scattered)


def silence(adapter: Path) -> None:
    """Makes all weights of an adapter zero."""
    path = adapter / "adapter_model.safetensors"
    data = path.read_bytes()
    head = 8 + struct.unpack("<Q", data[:8])[0]
    path.write_bytes(data[:head].ljust(len(data), b"\0"))


async def test_an_adapter_comes_and_goes_through_the_admin_routes(platform: Platform, tmp_path: Path) -> None:
    """This one has zero weights: it answers as the base model does, so the others' words come from their weights."""
    mute = write_adapter(tmp_path / "mute", seed=2)
    silence(mute)
    async with at_leisure(platform.api) as client, at_leisure(platform.admin) as admin:
        assert (await ask(client, "mute")).status_code == 404
        loaded = await admin.post("/admin/engines/right/adapters", json={"name": "mute", "path": str(mute)})
        assert loaded.status_code == 200, loaded.text
        assert {adapter["name"] for adapter in loaded.json()["adapters"]} == {*ADAPTERS, "mute"}
        assert await listed(client) == {MODEL, *ADAPTERS, "mute"}
        answer = await ask(client, "mute")
        assert (answer.status_code, answer.headers["x-penstock-engine"]) == (200, "right"), answer.text
        assert answer.json()["choices"][0]["text"] == await text_of(client, MODEL)
        gone = await admin.delete("/admin/engines/right/adapters/mute")
        assert gone.status_code == 200, gone.text
        assert await listed(client) == {MODEL, *ADAPTERS}
        refused = await ask(client, "mute")
        assert (refused.status_code, refused.json()["error"]["code"]) == (404, "model_not_found")
