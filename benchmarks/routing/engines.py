"""The real engines: llama.cpp children as Penstock runs them, and vLLM on CPU; and what their counters say."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import re
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from benchmarks.gateway.gateways import ROOT, VENVS, NotStarted, free_port

MODEL = "smollm2"
VLLM = ROOT / "tests" / "real" / "vllm.sh"
CONTEXT_TOKENS = 2048
CACHE_MIB = 48
"""Prompts that left their slot: about as many tokens as the context holds, for this model."""

Kind = Literal["llamacpp", "vllm"]
_SAMPLE = re.compile(r"^([a-zA-Z_:][\w:]*)(?:\{[^}]*\})? ([-+.\deE]+)$", re.MULTILINE)


@dataclass(slots=True)
class Engine:
    name: str
    kind: Kind
    port: int
    process: subprocess.Popen[bytes]

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"


@dataclass(frozen=True, slots=True)
class Counted:
    """Counters of one engine since it started."""

    out_tokens: float
    prompt_tokens: float
    """Looked up in the prefix cache."""
    cached_tokens: float
    busy: float
    """Requests it has now."""


@dataclass(frozen=True, slots=True)
class Fleet:
    """A set of engines of one kind. `label` tells what stands there."""

    kind: Kind
    size: int
    label: str
    slots: int = 2
    """Requests that a llama.cpp decodes at a time."""
    prefix_cache: bool = True
    """Of llama.cpp: in its slots, and in RAM for prompts that left theirs."""
    flags: Sequence[str] = ()
    """More for vLLM."""


FLEETS = (
    Fleet("llamacpp", 4, f"4 llama.cpp, 1 thread and 2 slots each, {CONTEXT_TOKENS} tokens of context"),
    Fleet("vllm", 2, "2 vLLM on CPU, 1 core each, prefix caching on"),
)


def default_model() -> Path:
    """The GGUF that Penstock runs by default, fetched once. Raises NotStarted."""
    command = [sys.executable, "-m", "penstock", "models", "pull", "--json"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT)
    try:
        return Path(json.loads(done.stdout)["path"])
    except (ValueError, KeyError, TypeError) as error:
        raise NotStarted(f"no model: {done.stderr[-500:]}") from error


def quick_model() -> Path:
    """The default model in Q4_0, made once; as it is where vLLM's environment, which can do that, is not installed.

    Raises NotStarted.
    """
    source, python = default_model(), deps() / "vllm" / "bin" / "python"
    target = VENVS / f"{source.name.split('.')[0]}.Q4_0.gguf"
    if not target.exists() and python.exists():
        VENVS.mkdir(exist_ok=True)
        script = str(Path(__file__).with_name("requantise.py"))
        subprocess.run([str(python), script, str(source), str(target)], capture_output=True, check=False)
    return target if target.exists() else source


def deps() -> Path:
    """Where vLLM is installed."""
    return Path(os.environ.get("PENSTOCK_DEPS", ROOT / ".deps"))


def absent(fleet: Fleet) -> str:
    """Why a fleet cannot be started here; empty when it can."""
    if fleet.kind == "vllm" and not list(deps().glob("vllm-*.ready")):
        return "not installed: tests/real/vllm.sh install"
    return ""


@contextmanager
def running(fleet: Fleet, folder: Path, model: Path) -> Iterator[list[Engine]]:
    """Its engines, started together and answering; gone at the end. Raises NotStarted."""
    engines: list[Engine] = []
    try:
        for number in range(fleet.size):
            log = folder / f"{fleet.kind}{number}.log"
            if fleet.kind == "llamacpp":
                engines.append(_llamacpp(number, log, model, fleet))
            else:
                engines.append(_vllm(number, log, fleet.flags))
        patience = 60.0 if fleet.kind == "llamacpp" else 400.0
        for engine in engines:
            ready(engine, folder / f"{fleet.kind}{engine.name[1:]}.log", patience)
        yield engines
    finally:
        for engine in engines:
            stop(engine)


def last_words(log: Path) -> str:
    """The last line of a log that names an error, or the last of all, without the place of this checkout."""
    lines = log.read_text(errors="replace").strip().splitlines()
    lines = [line for line in lines if "Error" in line or "error:" in line] or lines
    return lines[-1].replace(str(ROOT), ".")[-300:] if lines else "it said nothing"


def restart(engine: Engine, folder: Path, model: Path, fleet: Fleet) -> None:
    """Another process of a llama.cpp that is gone, at its address. Raises NotStarted."""
    log = folder / f"{fleet.kind}{engine.name[1:]}.log"
    engine.process = _llamacpp(int(engine.name[1:]), log, model, fleet, engine.port).process
    ready(engine, log, 60.0)


def _llamacpp(number: int, log: Path, model: Path, fleet: Fleet, port: int = 0) -> Engine:
    cache = {"cache_ram_mib": CACHE_MIB} if fleet.prefix_cache else {"cache_ram_mib": 0, "cache_prompt": False}
    settings = {
        "name": f"e{number}",
        "model_path": str(model),
        "alias": MODEL,
        "context_tokens": CONTEXT_TOKENS,
        "slots": fleet.slots,
        "threads": 1,
        "extra": cache,
    }
    port = port or free_port()
    launch = {"settings": settings, "cores": os.cpu_count() or 1, "port": port}
    command = [sys.executable, "-m", "penstock.engines.llamacpp.child", str(os.getpid())]
    environment = {"OMP_WAIT_POLICY": "passive", "PYTHONPATH": str(ROOT / "src"), **os.environ}
    with log.open("wb") as out:
        process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=out, stderr=out, env=environment, start_new_session=True
        )
    assert process.stdin is not None
    process.stdin.write(json.dumps(launch).encode() + b"\n")
    process.stdin.flush()
    return Engine(f"e{number}", "llamacpp", port, process)


def _vllm(number: int, log: Path, flags: Sequence[str]) -> Engine:
    port = free_port()
    core = str(number % (os.cpu_count() or 1))
    command = [
        str(VLLM), "serve", str(port), "--max-model-len", "1024", "--max-num-seqs", "8", "--enforce-eager",
        "--enable-prefix-caching", "--enable-prompt-tokens-details", "--block-size", "32",
        *flags,
    ]  # fmt: skip
    environment = os.environ | {"VLLM_CPU_KVCACHE_SPACE": "1", "VLLM_CPU_OMP_THREADS_BIND": core}
    with log.open("wb") as out:
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=out, stderr=out, env=environment, start_new_session=True
        )
    return Engine(f"e{number}", "vllm", port, process)


def ready(engine: Engine, log: Path, patience_s: float) -> None:
    until = time.monotonic() + patience_s
    while time.monotonic() < until and engine.process.poll() is None:
        with contextlib.suppress(OSError):
            get(f"{engine.url}/health", 5)
            return
        time.sleep(0.1)
    raise NotStarted(f"{engine.kind} {engine.name} is not ready: {last_words(log)}")


def stop(engine: Engine) -> None:
    """SIGTERM to its session, SIGKILL after 15 s."""
    for name in (signal.SIGTERM, signal.SIGKILL):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(engine.process.pid, name)
        with contextlib.suppress(subprocess.TimeoutExpired):
            engine.process.wait(15)
            break
    if engine.process.stdin is not None:
        with contextlib.suppress(OSError):
            engine.process.stdin.close()


def read_counters(kind: Kind, text: str) -> Counted:
    """From an engine's /metrics; a series that is not there counts as 0 here."""
    sums: dict[str, float] = {}
    for found in _SAMPLE.finditer(text):
        sums[found[1]] = sums.get(found[1], 0.0) + float(found[2])

    def total(*names: str) -> float:
        return sum(sums.get(name, 0.0) for name in names)

    if kind == "vllm":
        return Counted(
            total("vllm:generation_tokens_total"),
            total("vllm:prefix_cache_queries_total"),
            total("vllm:prefix_cache_hits_total"),
            total("vllm:num_requests_running", "vllm:num_requests_waiting"),
        )
    cached = total("llamacpp:prompt_tokens_cached_total")
    return Counted(
        total("llamacpp:tokens_predicted_total"),
        total("llamacpp:prompt_tokens_total") + cached,
        cached,
        total("llamacpp:requests_processing", "llamacpp:requests_deferred"),
    )


def _scrape(engine: Engine) -> Counted:
    return read_counters(engine.kind, get(f"{engine.url}/metrics"))


def get(url: str, patience_s: float = 60.0) -> str:
    """A body, never through a proxy. Raises OSError, also for an error status."""
    direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with direct.open(url, timeout=patience_s) as answer:
        return str(answer.read(), "utf-8")


async def counters(engines: Sequence[Engine]) -> list[Counted]:
    """Of all engines at about the same time. Raises OSError."""
    return await asyncio.gather(*(asyncio.to_thread(_scrape, engine) for engine in engines))


async def idle(engines: Sequence[Engine], patience_s: float = 60.0) -> bool:
    """Waits until no engine has a request; False when that takes longer."""
    until = time.monotonic() + patience_s
    while time.monotonic() < until:
        if all(each.busy == 0 for each in await counters(engines)):
            return True
        await asyncio.sleep(0.2)
    return False
