"""The load of a real vLLM, read by its dialect."""

import time

import httpx
import pytest

from penstock.wire.dialects import expected, read_load

pytestmark = [pytest.mark.anyio, pytest.mark.real]


async def test_nothing_that_the_installed_release_should_export_is_missing(vllm: str) -> None:
    async with httpx.AsyncClient(base_url=vllm, trust_env=False, timeout=60.0) as client:
        version = (await client.get("/version")).raise_for_status().json()["version"]
        ask = {"model": "smollm2", "prompt": "Rivers run to the sea. " * 60, "max_tokens": 4}
        for _ in range(2):
            (await client.post("/v1/completions", json=ask)).raise_for_status()
        text = (await client.get("/metrics")).content
    for told in (version, ""):
        load = read_load(text, time.monotonic(), version=told)
        assert (load.dialect, load.version, load.missing) == ("vllm", told, ())
        assert all(getattr(load, signal) is not None for signal, _ in expected("vllm", version))
        assert load.kv_capacity_tokens is not None
        assert load.kv_capacity_tokens > 4096
        assert load.prefix_hit_tokens is not None
        assert load.prefix_hit_tokens > 0
