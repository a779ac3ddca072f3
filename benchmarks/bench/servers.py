"""Real engines for the baselines of lab L06's contract: the embedded llama.cpp behind the platform, and vLLM on CPU."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from benchmarks.gateway.gateways import NotStarted, free_port
from benchmarks.limits.platform import up
from benchmarks.routing.engines import VLLM, Engine, deps, ready, stop

KEY = "sk-baseline-0123456789"
SLOTS = 4
CORE = 1
"""vLLM has it alone, as far as possible: its threads wait for each other."""
FLAGS = (
    "--max-model-len", "1024", "--max-num-seqs", "8", "--enforce-eager", "--block-size", "32",
    "--no-enable-prefix-caching",
)  # fmt: skip
"""Without a prefix cache: a contract sends the same bytes every time, and a run would find those of the one before."""
UNCACHED = {"cache_prompt": False, "cache_ram_mib": 0}
"""The same for llama.cpp."""
SLOWER = ("--max-num-batched-tokens", "64")
"""A prompt of the contract takes two steps instead of one."""
PATIENCE_S = 400.0


@dataclass(frozen=True, slots=True)
class Served:
    """A server under test, and how `penstock bench` is told of it."""

    url: str
    options: tuple[str, ...]


@contextmanager
def llamacpp(folder: Path, threads: int = 0) -> Iterator[Served]:
    """The whole platform with its embedded engine, which takes every core unless told. Raises NotStarted."""
    with up(folder, [KEY], SLOTS, threads=threads, extra=UNCACHED) as platform:
        metrics = f"http://127.0.0.1:{platform.admin}/metrics"
        yield Served(
            f"http://127.0.0.1:{platform.port}",
            ("--metrics", metrics, "--label", f"engine=llamacpp, {SLOTS} slots, no prefix cache"),
        )


@contextmanager
def vllm(folder: Path, slower: Sequence[Sequence[str]] = ()) -> Iterator[list[Served]]:
    """vLLM as it is, and one more for each entry of `slower`, with those flags beside. Only one is to be asked at a
    time. Raises NotStarted."""
    if not list(deps().glob("vllm-*.ready")):
        raise NotStarted("vLLM is not installed: tests/real/vllm.sh install")
    folder.mkdir(parents=True, exist_ok=True)
    with ExitStack() as running:
        started = [
            running.enter_context(_started(folder / f"v{n}.log", extra)) for n, extra in enumerate([(), *slower])
        ]
        for engine in started:
            ready(engine, folder / f"{engine.name}.log", PATIENCE_S)
        yield [
            Served(engine.url, ("--metrics", f"{engine.url}/metrics", "--label", "engine=vllm, 1 core"))
            for engine in started
        ]


@contextmanager
def _started(log: Path, extra: Sequence[str]) -> Iterator[Engine]:
    port = free_port()
    environment = os.environ | {"VLLM_CPU_KVCACHE_SPACE": "1", "VLLM_CPU_OMP_THREADS_BIND": str(CORE)}
    with log.open("wb") as out:
        process = subprocess.Popen(
            [str(VLLM), "serve", str(port), *FLAGS, *extra],
            stdin=subprocess.DEVNULL, stdout=out, stderr=out, env=environment, start_new_session=True,
        )  # fmt: skip
    engine = Engine(log.stem, "vllm", port, process)
    try:
        yield engine
    finally:
        stop(engine)
