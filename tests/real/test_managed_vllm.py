"""A real vLLM as a managed process: started with checked flags, replaced after a kill, stopped without a trace."""

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import httpx
import pytest

from benchmarks.routing.adapters import write_adapter
from penstock.core.endpoint import EngineState
from penstock.engines.kv_events import Gap, KvEvents, Stored
from penstock.engines.lora import AdapterExists, AdapterNotFound, AdapterRefused, Adapters
from penstock.engines.process.status import Patience, ProcessStatus
from penstock.engines.vllm.settings import VllmSettings
from penstock.engines.vllm.supervise import VllmProcess
from tests.real.conftest import SCRIPT

pytestmark = [pytest.mark.anyio, pytest.mark.real]
MODEL = "smollm2"
READY_WITHIN_S = 600.0
DEPS = Path(os.environ.get("PENSTOCK_DEPS", SCRIPT.parents[2] / ".deps")).absolute()


class Managed:
    """A managed vLLM, and the news of it."""

    def __init__(self, folder: Path, deps: Path, events: tuple[str, str]) -> None:
        self._news = asyncio.Event()
        self.states: list[EngineState] = []
        self.events = events
        config = f'{{"enable_kv_cache_events": true, "endpoint": "{events[0]}", "replay_endpoint": "{events[1]}"}}'
        settings = VllmSettings(
            name="managed",
            model=str(deps / "smollm2"),
            executable=str(deps / "vllm" / "bin" / "vllm"),
            served_name=MODEL,
            flags={
                "max_model_len": 1024,
                "max-num-seqs": 8,
                "enforce-eager": True,
                "enable-prefix-caching": True,
                "enable-lora": True,
                "max-lora-rank": 8,
                "kv-events-config": config,
            },
            environment={"HF_HUB_OFFLINE": "1", "VLLM_CPU_KVCACHE_SPACE": "1"},
        )
        self.process = VllmProcess(settings, self._note, os.environ, cache=folder, patience=Patience())

    def _note(self, status: ProcessStatus) -> None:
        if self.states[-1:] != [status.state]:
            self.states.append(status.state)
        self._news.set()

    async def until(self, wanted: Callable[[ProcessStatus], bool]) -> ProcessStatus:
        async with asyncio.timeout(READY_WITHIN_S):
            while not wanted(self.process.status):
                assert self.process.status.state is not EngineState.FAILED, self.process.status.reason
                self._news.clear()
                await self._news.wait()
        return self.process.status


def is_ready(status: ProcessStatus) -> bool:
    return status.state is EngineState.READY


@pytest.fixture(scope="module")
async def managed(tmp_path_factory: pytest.TempPathFactory, free_port: Callable[[], int]) -> AsyncIterator[Managed]:
    installing = await asyncio.create_subprocess_exec(SCRIPT, "install")
    assert await installing.wait() == 0
    events = (f"tcp://*:{free_port()}", f"tcp://*:{free_port()}")
    engine = Managed(tmp_path_factory.mktemp("managed"), DEPS, events)
    await engine.process.start()
    try:
        yield engine
    finally:
        await engine.process.stop()


async def say(client: httpx.AsyncClient, address: str, model: str, prompt: str = "The river") -> httpx.Response:
    body = {"model": model, "prompt": prompt, "max_tokens": 8, "temperature": 0, "ignore_eos": True}
    return await client.post(f"{address}/v1/completions", json=body)


async def text_of(client: httpx.AsyncClient, address: str, model: str) -> str:
    answer = (await say(client, address, model)).raise_for_status()
    text: str = answer.json()["choices"][0]["text"]
    return text


async def test_it_starts_and_says_what_it_is(managed: Managed) -> None:
    status = await managed.until(is_ready)
    assert status.version.split("+")[0].count(".") >= 2
    assert list(status.models) == [MODEL]
    assert managed.states == [EngineState.STARTING, EngineState.WARMING, EngineState.READY]
    assert "--max-model-len=1024" in command_of(status.pid)


async def test_adapters_come_and_go_while_it_runs(managed: Managed, tmp_path: Path) -> None:
    """Each name answers with its own weights; the base model is untouched by them."""
    address = (await managed.until(is_ready)).address
    paths = {name: str(write_adapter(tmp_path / name, seed)) for seed, name in enumerate(("red", "blue"))}
    async with httpx.AsyncClient(trust_env=False, timeout=120.0) as client:
        adapters = Adapters(client, address)
        assert await adapters.list() == {}
        before = await text_of(client, address, MODEL)
        for name, path in paths.items():
            await adapters.load(name, path)
        listed = await adapters.list()
        assert {name: (adapter.base, adapter.path) for name, adapter in listed.items()} == {
            name: (MODEL, path) for name, path in paths.items()
        }
        texts = [await text_of(client, address, name) for name in (MODEL, "red", "blue")]
        assert texts[0] == before
        assert len(set(texts)) == 3
        with pytest.raises(AdapterExists):
            await adapters.load("red", paths["red"])
        with pytest.raises(AdapterExists):
            await adapters.load(MODEL, paths["red"])
        await adapters.load("red", paths["blue"], replace=True)
        assert await text_of(client, address, "red") == texts[2]
        with pytest.raises(AdapterNotFound):
            await adapters.load("green", str(tmp_path / "nowhere"))
        with pytest.raises(AdapterRefused):
            await adapters.load("wide", str(write_adapter(tmp_path / "wide", 3, rank=64)))
        for name in paths:
            await adapters.unload(name)
        assert await adapters.list() == {}
        assert (await say(client, address, "red")).status_code == 404
        with pytest.raises(AdapterNotFound):
            await adapters.unload("red")


async def test_its_kv_events_arrive_and_can_be_asked_for_again(managed: Managed) -> None:
    address = (await managed.until(is_ready)).address
    publisher, replay = (endpoint.replace("*", "127.0.0.1") for endpoint in managed.events)
    words = " ".join(str(number) for number in range(150))
    seen: list[Stored] = []
    async with httpx.AsyncClient(trust_env=False, timeout=120.0) as client:
        async with asyncio.timeout(60):
            async with KvEvents(publisher, replay) as events:
                # It was not there for the first batches: it asks for them.
                (await say(client, address, MODEL, words)).raise_for_status()
                async for event in events:
                    assert not isinstance(event, Gap)
                    if isinstance(event, Stored):
                        seen.append(event)
                        if sum(len(stored.tokens) for stored in seen) > 300:
                            break
    assert all(len(stored.tokens) == stored.block_tokens * len(stored.hashes) for stored in seen)
    chained = [stored for stored in seen if stored.parent is not None]
    known = {name for stored in seen for name in stored.hashes}
    assert all(stored.parent in known for stored in chained)


async def test_a_killed_vllm_is_replaced_and_leaves_no_children(managed: Managed) -> None:
    first = await managed.until(is_ready)
    family = members(first.pid)
    assert len(family) > 1, "vLLM's engine runs in a process of its own"
    os.kill(first.pid, signal.SIGKILL)
    down = await managed.until(lambda status: status.state is EngineState.RESTARTING)
    assert down.reason.startswith("vLLM was ended by SIGKILL")
    assert not [pid for pid in family if alive(pid)]
    second = await managed.until(is_ready)
    assert (second.restarts, list(second.models)) == (1, [MODEL])
    async with httpx.AsyncClient(trust_env=False, timeout=120.0) as client:
        assert await text_of(client, second.address, MODEL)


async def test_a_stop_lets_requests_end_and_leaves_nothing(managed: Managed) -> None:
    status = await managed.until(is_ready)
    family = members(status.pid)
    async with httpx.AsyncClient(trust_env=False, timeout=120.0) as client:
        asking = asyncio.ensure_future(text_of(client, status.address, MODEL))
        while not await running(client, status.address) and not asking.done():  # noqa: ASYNC110 - another process's news
            await asyncio.sleep(0.01)
        await managed.process.stop()
        assert await asking
    assert managed.process.status.state is EngineState.STOPPED
    assert not [pid for pid in family if alive(pid)]


async def running(client: httpx.AsyncClient, address: str) -> bool:
    text = (await client.get(f"{address}/metrics")).text
    return any(
        line.startswith("vllm:num_requests_running{") and not line.endswith(" 0.0") for line in text.splitlines()
    )


def command_of(pid: int) -> list[str]:
    return Path(f"/proc/{pid}/cmdline").read_text().split("\0")


def members(group: int) -> list[int]:
    """Processes of a group."""
    found = []
    for entry in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = entry.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if int(fields[2]) == group:
            found.append(int(entry.parent.name))
    return found


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False
