"""A managed vLLM, played by a small program: its life, its flags, its end."""

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import msgspec
import pytest

from penstock.core.endpoint import EngineState
from penstock.engines.process.guard import Started
from penstock.engines.process.status import Patience, ProcessStatus
from penstock.engines.vllm.settings import VllmSettings
from penstock.engines.vllm.supervise import VllmProcess

FAKE = Path(__file__).with_name("fake.py")
QUICK = Patience(probe_interval_s=0.1, probe_timeout_s=1.0, restart_base_s=0.05)
pytestmark = pytest.mark.anyio


@pytest.fixture
def program(tmp_path: Path) -> Path:
    path = tmp_path / "vllm"
    path.write_text(f"#!{sys.executable}\n{FAKE.read_text()}")
    path.chmod(0o755)
    return path


class Watched:
    """A managed engine, and what it told."""

    def __init__(self, program: Path, mode: str, settings: dict[str, object], **environ: str) -> None:
        folder = program.parent
        self.asked = folder / "asked"
        self.told: list[ProcessStatus] = []
        self._news = asyncio.Event()
        given = {"stop_timeout_s": 5.0, "startup_timeout_s": 20.0, "drain_timeout_s": 5.0, **settings}
        everything = {"name": "v", "model": "m", "executable": str(program), **given}
        self.process = VllmProcess(
            msgspec.convert(everything, VllmSettings),
            self._note,
            {**os.environ, "FAKE_VLLM": mode, "FAKE_ASKED": str(self.asked), **environ},
            cache=folder / "cache",
            patience=QUICK,
        )

    def _note(self, status: ProcessStatus) -> None:
        self.told.append(status)
        self._news.set()

    async def until(self, state: EngineState, timeout_s: float = 20.0) -> ProcessStatus:
        async with asyncio.timeout(timeout_s):
            while self.process.status.state is not state:
                self._news.clear()
                await self._news.wait()
        return self.process.status


@pytest.fixture
def watched(program: Path) -> Callable[..., object]:
    @asynccontextmanager
    async def watch(
        mode: str = "ready", settings: dict[str, object] | None = None, **environ: str
    ) -> AsyncIterator[Watched]:
        engine = Watched(program, mode, settings or {}, **environ)
        await engine.process.start()
        try:
            yield engine
        finally:
            await engine.process.stop()

    return watch


def helpers(of: str = "fake-helper") -> set[int]:
    """Processes that the fake left running."""
    found = set()
    for entry in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            if of in entry.read_text().split("\0"):
                found.add(int(entry.parent.name))
        except OSError:
            continue
    return found


async def test_it_starts_checks_serves_and_leaves_nothing(watched: Callable) -> None:
    before = helpers()
    async with watched(settings={"served_name": "x", "flags": {"max_model_len": 64}}) as engine:
        status = await engine.until(EngineState.READY)
        assert (list(status.models), status.version, status.restarts) == (["x"], "0.99.1+fake", 0)
        command = Path(f"/proc/{status.pid}/cmdline").read_text()  # noqa: ASYNC240
        assert "--max-model-len=64" in command
        assert len(helpers() - before) == 2
    assert engine.process.status.state is EngineState.STOPPED
    assert helpers() == before
    states = [status.state for status in engine.told]
    assert [state for state, last in zip(states, [None, *states], strict=False) if state is not last] == [
        EngineState.STARTING, EngineState.WARMING, EngineState.READY, EngineState.STOPPING, EngineState.STOPPED,
    ]  # fmt: skip


async def test_it_says_where_it_publishes_its_events(watched: Callable) -> None:
    async with watched(settings={"kv_events": True}) as engine:
        first = await engine.until(EngineState.READY)
        assert first.kv_events in Path(f"/proc/{first.pid}/cmdline").read_text()  # noqa: ASYNC240
        os.kill(first.pid, signal.SIGKILL)
        await engine.until(EngineState.RESTARTING)
        second = await engine.until(EngineState.READY)
        assert second.kv_events
        assert second.kv_replay
        assert second.kv_events != first.kv_events


async def test_a_killed_one_is_replaced_and_its_helpers_go_with_it(watched: Callable) -> None:
    before = helpers()
    async with watched() as engine:
        first = await engine.until(EngineState.READY)
        old = helpers() - before
        os.kill(first.pid, signal.SIGKILL)
        down = await engine.until(EngineState.RESTARTING)
        assert down.reason == "vLLM was ended by SIGKILL"
        assert not helpers() & old
        second = await engine.until(EngineState.READY)
        assert second.restarts == 1
        assert second.pid != first.pid
    assert engine.asked.read_text() == "x", "the flags are asked for once"
    assert helpers() == before


async def test_flags_are_asked_once_per_version(watched: Callable) -> None:
    for _ in range(2):
        async with watched() as engine:
            await engine.until(EngineState.READY)
    assert engine.asked.read_text() == "x"


@pytest.mark.parametrize(
    ("mode", "settings", "restarts", "says"),
    [
        ("ready", {"flags": {"max-modle-len": 1}}, 0, "did you mean 'max-model-len'"),
        ("ready", {"executable": "/nowhere/vllm"}, 0, "there is no program '/nowhere/vllm'"),
        ("misled", {}, 0, "vLLM ended with status 2: error: argument --max-model-len: invalid value"),
        ("dies", {}, 2, "ValueError: no room for the KV cache"),
        ("never", {"startup_timeout_s": 0.6}, 2, "not ready after 0.6 s"),
    ],
)
async def test_one_that_cannot_start_says_why(
    watched: Callable, mode: str, settings: dict[str, object], restarts: int, says: str
) -> None:
    before = helpers()
    async with watched(mode, settings) as engine:
        status = await engine.until(EngineState.FAILED)
        assert says in status.reason
        assert status.restarts == restarts
        assert status.pid == 0
        assert helpers() == before


async def test_a_stop_waits_for_requests_and_then_no_longer(watched: Callable, tmp_path: Path) -> None:
    busy = tmp_path / "busy"
    for leaves_after_s, drain_s, takes_s in ((0.5, 5.0, (0.5, 3.0)), (60.0, 0.3, (0.3, 3.0))):
        busy.touch()
        async with watched(settings={"drain_timeout_s": drain_s}, FAKE_BUSY=str(busy)) as engine:
            await engine.until(EngineState.READY)
            asyncio.get_running_loop().call_later(leaves_after_s, busy.unlink, True)
            began = time.monotonic()
            await engine.process.stop()
            assert takes_s[0] <= time.monotonic() - began < takes_s[1]


async def test_one_that_ignores_sigterm_is_killed(watched: Callable) -> None:
    before = helpers()
    async with watched("deaf", {"stop_timeout_s": 0.3}) as engine:
        await engine.until(EngineState.READY)
        began = time.monotonic()
        await engine.process.stop()
        assert time.monotonic() - began < 4.0
    assert helpers() == before


async def test_a_stop_while_it_starts_leaves_nothing(watched: Callable) -> None:
    before = helpers()
    async with watched("never") as engine:
        await engine.until(EngineState.WARMING)
    assert engine.process.status.state is EngineState.STOPPED
    assert helpers() == before


@pytest.mark.parametrize("end", ["stdin", "guard"])
def test_it_ends_with_its_parent_and_with_its_guard(program: Path, end: str) -> None:
    """The guard's stdin ends when Penstock does; the guard itself may be killed as well."""
    before = helpers()
    command = [sys.executable, "-m", "penstock.engines.process.guard", "5", str(program), "serve", "m"]
    environ = {**os.environ, "FAKE_VLLM": "never"}
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environ) as guard:
        assert guard.stdout is not None
        assert guard.stdin is not None
        pid = msgspec.json.decode(guard.stdout.readline(), type=Started).pid
        deadline = time.monotonic() + 10
        while len(helpers() - before) < 2:
            assert time.monotonic() < deadline
            time.sleep(0.02)
        if end == "stdin":
            guard.stdin.close()
            assert guard.wait(10) == 128 + signal.SIGTERM
            assert helpers() == before
        else:
            guard.kill()
    deadline = time.monotonic() + 30
    while Path(f"/proc/{pid}").exists() and Path(f"/proc/{pid}/stat").read_text().split()[2] != "Z":
        assert time.monotonic() < deadline
        time.sleep(0.02)
    for orphan in helpers() - before:  # a killed guard cannot sweep
        os.kill(orphan, signal.SIGKILL)
