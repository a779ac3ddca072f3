"""A real llama.cpp with a real model, treated badly."""

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any

import httpx
import msgspec
import pytest

from penstock.core.endpoint import EngineState
from penstock.engines.llamacpp.settings import Hello, Launch, LlamaCppSettings

Watch = Callable[..., AbstractAsyncContextManager[Any]]


def is_ready(status: Any) -> bool:
    return status.state is EngineState.READY


def gone(pid: int) -> bool:
    """Whether the process has ended (a zombie nobody reaped counts)."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except FileNotFoundError:
        return True


async def ask(address: str, path: str, **body: object) -> httpx.Response:
    async with httpx.AsyncClient(base_url=address, trust_env=False, timeout=30.0) as client:
        return await client.post(path, json={"model": "smol", **body})


@pytest.mark.model
def test_one_server_answers_every_endpoint(watched: Watch, settings: LlamaCppSettings) -> None:
    messages = [{"role": "user", "content": "Say hello"}]

    async def scenario() -> None:
        async with watched(settings) as engine:
            ready = await engine.until(is_ready)
            assert list(ready.models) == ["smol"]
            assert ready.pid > 0
            chat = await ask(ready.address, "/v1/chat/completions", messages=messages, max_tokens=8)
            assert chat.json()["choices"][0]["message"]["content"]
            assert chat.json()["usage"]["completion_tokens"] > 0
            text = await ask(ready.address, "/v1/completions", prompt="Once upon a time", max_tokens=4)
            assert text.json()["choices"][0]["text"]
            vectors = await ask(ready.address, "/v1/embeddings", input=["cats", "tax law"])
            assert [len(entry["embedding"]) for entry in vectors.json()["data"]] == [576, 576]
            for path, body in {
                "/v1/responses": {"input": "Hi", "max_output_tokens": 4},
                "/v1/messages": {"messages": messages, "max_tokens": 4},
                "/tokenize": {"content": "Hi"},
            }.items():
                assert (await ask(ready.address, path, **body)).status_code == 200, path
            # Chat after embeddings: one context serves both.
            again = await ask(ready.address, "/v1/chat/completions", messages=messages, max_tokens=4)
            assert again.json()["usage"]["prompt_tokens_details"]["cached_tokens"] > 0
        assert engine.status.state is EngineState.STOPPED
        assert gone(ready.pid)
        assert engine.states == [
            EngineState.STARTING,
            EngineState.WARMING,
            EngineState.READY,
            EngineState.STOPPING,
            EngineState.STOPPED,
        ]

    asyncio.run(scenario())


@pytest.mark.model
def test_a_killed_child_and_a_hung_child_are_replaced(watched: Watch, settings: LlamaCppSettings) -> None:
    async def scenario() -> None:
        async with watched(settings, hasty=True) as engine:
            first = await engine.until(is_ready)
            began = time.monotonic()
            os.kill(first.pid, signal.SIGKILL)
            down = await engine.until(lambda status: not is_ready(status))
            assert time.monotonic() - began < 0.5
            assert down.state is EngineState.RESTARTING
            assert (down.address, down.reason) == ("", "llama.cpp was ended by SIGKILL")
            second = await engine.until(is_ready)
            assert (second.restarts, second.reason) == (1, "")
            assert second.pid != first.pid
            os.kill(second.pid, signal.SIGSTOP)
            hung = await engine.until(lambda status: not is_ready(status))
            assert "hangs" in hung.reason
            third = await engine.until(is_ready)
            assert third.restarts == 2
            assert gone(second.pid)
            answer = await ask(third.address, "/v1/completions", prompt="Once", max_tokens=2)
            assert answer.status_code == 200

    asyncio.run(scenario())


@pytest.mark.model
def test_a_stopped_child_that_ignores_sigterm_is_killed(watched: Watch, settings: LlamaCppSettings) -> None:
    async def scenario() -> None:
        async with watched(settings) as engine:
            status = await engine.until(is_ready)
            os.kill(status.pid, signal.SIGSTOP)  # a stopped process cannot act on SIGTERM
            began = time.monotonic()
            await engine.process.stop()
            assert time.monotonic() - began < 5.0
            assert gone(status.pid)

    asyncio.run(scenario())


@pytest.mark.model
def test_a_stop_while_loading_leaves_nothing(watched: Watch, settings: LlamaCppSettings) -> None:
    async def scenario() -> None:
        async with watched(settings) as engine:
            status = await engine.until(lambda status: status.pid > 0)
        assert engine.status.state is EngineState.STOPPED
        assert gone(status.pid)

    asyncio.run(scenario())


def test_a_model_that_does_not_load_fails_with_llama_cpp_s_reason(watched: Watch, tmp_path: Path) -> None:
    path = tmp_path / "short.gguf"
    path.write_bytes(b"GGUF")
    settings = LlamaCppSettings(name="local", model_path=str(path), alias="smol")

    async def scenario() -> None:
        async with watched(settings) as engine:
            status = await engine.until(lambda status: status.state is EngineState.FAILED)
            assert "failed to load model" in status.reason
            assert status.restarts == 2

    asyncio.run(scenario())


def test_wrong_settings_fail_at_the_first_start(watched: Watch) -> None:
    settings = LlamaCppSettings(name="local", model_path="/none", alias="smol", extra={"n_ubach": 1})

    async def scenario() -> None:
        async with watched(settings) as engine:
            status = await engine.until(lambda status: status.state is EngineState.FAILED)
            assert "did you mean 'n_ubatch'" in status.reason
            assert status.restarts == 0

    asyncio.run(scenario())


@pytest.mark.model
def test_a_start_that_takes_too_long_counts_as_failed(watched: Watch, settings: LlamaCppSettings) -> None:
    slow = msgspec.structs.replace(settings, startup_timeout_s=0.01)

    async def scenario() -> None:
        async with watched(slow) as engine:
            status = await engine.until(lambda status: status.state is EngineState.FAILED)
            assert "not ready after 0.01 s" in status.reason

    asyncio.run(scenario())


PARENT = """
import subprocess, sys, time, os
child = subprocess.Popen([sys.executable, "-m", "penstock.engines.llamacpp.child", str(os.getpid())],
                         stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
child.stdin.write(sys.argv[1].encode() + b"\\n"); child.stdin.flush()
print(child.pid, child.stdout.readline().decode(), flush=True)
time.sleep(60)
"""


@pytest.mark.model
def test_the_child_dies_with_its_parent(settings: LlamaCppSettings) -> None:
    launch = msgspec.json.encode(Launch(settings, cores=2)).decode()
    with subprocess.Popen([sys.executable, "-c", PARENT, launch], stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        pid, _, hello = parent.stdout.readline().partition(" ")
        assert msgspec.json.decode(hello, type=Hello).ready
        parent.kill()
    deadline = time.monotonic() + 30.0
    while not gone(int(pid)):
        assert time.monotonic() < deadline
        time.sleep(0.02)


@pytest.mark.model
def test_the_child_ends_at_the_end_of_its_stdin_and_at_sigterm(settings: LlamaCppSettings) -> None:
    launch = msgspec.json.encode(Launch(settings, cores=2)) + b"\n"
    command = [sys.executable, "-m", "penstock.engines.llamacpp.child", str(os.getpid())]
    for end in ("stdin", "sigterm"):
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL}
        with subprocess.Popen(command, **pipes) as child:  # type: ignore[call-overload]
            child.stdin.write(launch)
            child.stdin.flush()
            assert msgspec.json.decode(child.stdout.readline(), type=Hello).ready
            if end == "stdin":
                child.stdin.close()
            else:
                child.terminate()
            assert child.wait(30.0) == 0
