"""Adapters of a vLLM, played by a handler that answers as vLLM's does."""

import json
from collections.abc import Callable

import httpx
import msgspec
import pytest

from penstock.engines.lora import (
    Adapter,
    AdapterEngineAway,
    AdapterError,
    AdapterExists,
    AdapterNotFound,
    AdapterRefused,
    Adapters,
    AdapterUpdatesOff,
    adapters_of,
)

pytestmark = pytest.mark.anyio


class Vllm:
    """The routes of vLLM that have to do with adapters."""

    def __init__(self) -> None:
        self.adapters: dict[str, str] = {}
        self.keys: set[str] = set()

    def __call__(self, request: httpx.Request) -> httpx.Response:
        self.keys.add(request.headers.get("authorization", ""))
        if request.url.path == "/v1/models":
            entries = [{"id": "base", "root": "/m", "parent": None}]
            entries += [{"id": name, "root": path, "parent": "base"} for name, path in self.adapters.items()]
            return httpx.Response(200, json={"object": "list", "data": entries})
        body = json.loads(request.content)
        name, path = body["lora_name"], body.get("lora_path", "")
        if request.url.path == "/v1/unload_lora_adapter":
            if self.adapters.pop(name, None) is None:
                return fault(404, f"The lora adapter '{name}' cannot be found.")
            return httpx.Response(200, text="Success")
        if path == "/nowhere":
            return fault(404, f"Loading lora {name} failed: No adapter found for {path}")
        if path == "/wide":
            return fault(500, "LoRA rank 64 is greater than max_lora_rank 8.")
        if name == "base" or (name in self.adapters and not body.get("load_inplace")):
            return fault(400, f"The lora adapter '{name}' has already been loaded.")
        if not path:
            return fault(400, "Both 'lora_name' and 'lora_path' must be provided.")
        self.adapters[name] = path
        return httpx.Response(200, text="Success")


def fault(status: int, message: str) -> httpx.Response:
    return httpx.Response(status, json={"error": {"message": message, "type": "x", "param": None, "code": status}})


def talk(handler: Callable[[httpx.Request], httpx.Response], key: str = "") -> Adapters:
    return Adapters(httpx.AsyncClient(transport=httpx.MockTransport(handler)), "http://vllm/", key)


async def test_load_list_replace_unload() -> None:
    vllm = Vllm()
    adapters = talk(vllm, key="secret")
    await adapters.load("red", "/red")
    await adapters.load("blue", "/blue")
    assert await adapters.list() == {"red": Adapter("red", "base", "/red"), "blue": Adapter("blue", "base", "/blue")}
    await adapters.load("red", "/redder", replace=True)
    assert vllm.adapters == {"red": "/redder", "blue": "/blue"}
    await adapters.unload("red")
    assert list(await adapters.list()) == ["blue"]
    assert vllm.keys == {"Bearer secret"}


@pytest.mark.parametrize(
    ("name", "path", "kind", "says"),
    [
        ("red", "/red", AdapterExists, "has a model 'red' already"),
        ("base", "/red", AdapterExists, "has a model 'base' already"),
        ("new", "/nowhere", AdapterNotFound, "No adapter found"),
        ("new", "/wide", AdapterRefused, "greater than max_lora_rank"),
        ("new", "", AdapterRefused, "must be provided"),
    ],
)
async def test_each_failure_has_its_type(name: str, path: str, kind: type[AdapterError], says: str) -> None:
    vllm = Vllm()
    vllm.adapters["red"] = "/red"
    with pytest.raises(kind, match=says):
        await talk(vllm).load(name, path)
    assert vllm.adapters == {"red": "/red"}


async def test_an_adapter_that_is_not_there_cannot_be_unloaded() -> None:
    with pytest.raises(AdapterNotFound, match="cannot be found"):
        await talk(Vllm()).unload("red")


async def test_an_older_vllm_s_error_is_read() -> None:
    flat = {"object": "error", "message": "not here", "code": 404}
    with pytest.raises(AdapterNotFound, match="not here"):
        await talk(lambda _: httpx.Response(404, json=flat)).unload("red")


async def test_an_engine_without_the_routes_says_how_to_get_them() -> None:
    adapters = talk(lambda _: httpx.Response(404, json={"detail": "Not Found"}))
    with pytest.raises(AdapterUpdatesOff, match="--enable-lora"):
        await adapters.load("red", "/red")
    with pytest.raises(AdapterUpdatesOff):
        await adapters.unload("red")


async def test_an_engine_that_is_away_is_told_apart() -> None:
    def away(request: httpx.Request) -> httpx.Response:
        raise httpx.ConnectError("refused", request=request)

    for handler in (away, lambda _: httpx.Response(200, text="<html>"), lambda _: httpx.Response(503)):
        with pytest.raises(AdapterEngineAway):
            await talk(handler).list()


def test_only_models_with_a_parent_are_adapters() -> None:
    entries = {
        "base": {"id": "base", "parent": None},
        "plain": {"id": "plain"},
        "red": {"id": "red", "parent": "base", "root": "/red"},
        "odd": {"id": 7},
    }
    models = {name: msgspec.json.encode(entry) for name, entry in entries.items()} | {"junk": b"{"}
    assert adapters_of(models) == {"red": Adapter("red", "base", "/red")}
