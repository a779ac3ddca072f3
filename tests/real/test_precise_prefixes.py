"""Two real vLLMs that Penstock starts: what one has cached is known though Penstock did not send it there."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest

from tests.real.conftest import READY_WITHIN_S, SCRIPT
from tests.real.test_managed_vllm import DEPS
from tests.worlds.platform import Platform, up

pytestmark = [pytest.mark.anyio, pytest.mark.real, pytest.mark.timeout(1800)]
MODEL = "smollm2"
ENGINES = ("a", "b")
ANSWER_S = 120.0
TOLD_WITHIN_S = 10.0
FLAGS = {"max-model-len": 2048, "max-num-seqs": 4, "enforce-eager": True, "enable-prefix-caching": True}


def engine(name: str) -> dict[str, Any]:
    return {
        "kind": "vllm",
        "name": name,
        "model": str(DEPS / "smollm2"),
        "served_name": MODEL,
        "executable": str(DEPS / "vllm" / "bin" / "vllm"),
        "flags": FLAGS,
        "environment": {"HF_HUB_OFFLINE": "1", "VLLM_CPU_KVCACHE_SPACE": "1"},
        "stop_timeout": 5,
    }


@pytest.fixture(scope="module")
async def platform(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Platform]:
    """Both engines ready. One platform for all tests: starting takes minutes."""
    installing = await asyncio.create_subprocess_exec(SCRIPT, "install")
    assert await installing.wait() == 0
    config = {
        "engines": [engine(name) for name in ENGINES],
        # Two engines that share two cores with everything else answer late; what is tested is not how fast they are.
        "routing": {"prefixes": "precise", "token_wait": 5.0, "explain_headers": True},
        "resilience": {"slow_start": 0},
    }
    async with up(tmp_path_factory.mktemp("precise"), config, within=READY_WITHIN_S) as platform:
        for index in range(len(ENGINES)):
            await platform.engine_is("ready", index, within=READY_WITHIN_S)
        yield platform


def client(address: str) -> httpx.AsyncClient:
    return httpx.AsyncClient(base_url=address, trust_env=False, timeout=ANSWER_S)


def chat(subject: str, *more: str) -> dict[str, Any]:
    """A chat of some hundred tokens, its system prompt being most of them."""
    told = " ".join(f"Fact {number} of {subject}: it has {number * 7} sides." for number in range(40))
    messages = [{"role": "system", "content": told}, {"role": "user", "content": "Tell me of it."}]
    messages += [{"role": role, "content": text} for role, text in zip(("assistant", "user") * 2, more, strict=False)]
    return {"model": MODEL, "messages": messages, "max_tokens": 8, "temperature": 0}


async def ask(address: str, body: dict[str, Any]) -> httpx.Response:
    async with client(address) as direct:
        return (await direct.post("/v1/chat/completions", json=body)).raise_for_status()


async def row(platform: Platform, name: str) -> dict[str, Any]:
    rows = (await platform.ask_admin("/admin/engines")).json()["engines"]
    found: dict[str, Any] = next(each for each in rows if each["name"] == name)
    return found


async def send_to(platform: Platform, name: str, body: dict[str, Any]) -> int:
    """Straight to an engine; returns the prompt's tokens once Penstock has heard of them."""
    before = await row(platform, name)
    answer = await ask(before["address"], body)
    async with asyncio.timeout(TOLD_WITHIN_S):
        while (await row(platform, name))["cache"]["events"] == before["cache"]["events"]:  # noqa: ASYNC110
            await asyncio.sleep(0.05)
    await asyncio.sleep(0.2)  # the workers are told a moment later
    tokens: int = answer.json()["usage"]["prompt_tokens"]
    return tokens


async def whole_blocks(platform: Platform, name: str, tokens: int) -> int:
    """Of `tokens` those in whole blocks: a block of vLLM on CPU has 128."""
    size: int = (await row(platform, name))["cache"]["block_tokens"]
    return tokens // size * size


async def why(platform: Platform, answer: httpx.Response) -> dict[str, Any]:
    decision: dict[str, Any] = (await platform.why(answer.headers["x-request-id"]))["decisions"][-1]
    return decision


async def test_both_tell_what_is_in_their_caches(platform: Platform) -> None:
    for name in ENGINES:
        await send_to(platform, name, chat(f"the sea of {name}"))
        cache = (await row(platform, name))["cache"]
        assert cache["whole"]
        assert cache["gaps"] == 0
        assert cache["blocks"] * cache["block_tokens"] > 300
        assert cache["last_number"] >= 0


@pytest.mark.parametrize("name", ENGINES)
async def test_a_prompt_that_an_engine_got_elsewhere_is_followed_there(platform: Platform, name: str) -> None:
    """Whichever engine it is, so that chance cannot help."""
    body = chat(f"the hill that {name} knows")
    tokens = await send_to(platform, name, body)
    for number in range(4):
        answer = await ask(platform.api, body | {"user": str(number)})
        decision = await why(platform, answer)
        assert answer.headers["x-penstock-engine"] == name
        assert decision["index"] == "precise"
        assert decision["matched_tokens"] == await whole_blocks(platform, name, tokens)


@pytest.mark.parametrize("name", ENGINES)
async def test_a_conversation_is_followed_with_what_was_answered(platform: Platform, name: str) -> None:
    """Other words in the last message, the same beginning."""
    tokens = await send_to(platform, name, chat(f"the lake of {name}"))
    answer = await ask(platform.api, chat(f"the lake of {name}", "It is deep.", "How deep?"))
    assert answer.headers["x-penstock-engine"] == name
    # Without the beginning of the answer that ends the first prompt.
    assert (await why(platform, answer))["matched_tokens"] == await whole_blocks(platform, name, tokens - 8)


@pytest.mark.parametrize("name", ENGINES)
async def test_a_text_prompt_is_followed_too(platform: Platform, name: str) -> None:
    prompt = " ".join(f"{number} ships of {name} sail." for number in range(60))
    body = {"model": MODEL, "prompt": prompt, "max_tokens": 4, "temperature": 0}
    address = (await row(platform, name))["address"]
    async with client(address) as direct, client(platform.api) as through:
        tokens = (await direct.post("/v1/completions", json=body)).raise_for_status().json()["usage"]["prompt_tokens"]
        await asyncio.sleep(1.0)
        answer = (await through.post("/v1/completions", json=body)).raise_for_status()
    assert answer.headers["x-penstock-engine"] == name
    assert (await why(platform, answer))["matched_tokens"] == await whole_blocks(platform, name, tokens)


async def test_approximate_mode_does_not_know(platform: Platform) -> None:
    """The counterpart, and the last test: a reload takes precise mode away while the engines run on."""
    bodies = {name: chat(f"the town of {name}") for name in ENGINES}
    config = platform.config | {"routing": {"explain_headers": True}}
    for name, body in bodies.items():
        await send_to(platform, name, body)
    await platform.reload(config, taken=True)
    for body in bodies.values():
        answer = await ask(platform.api, body)
        decision = await why(platform, answer)
        assert (decision["index"], decision["matched_tokens"]) == ("approximate", 0)
        assert decision["reason"].startswith("no prefix")
