"""A replica: `penstock up` with workers, a key and a limit, in front of an engine."""

from __future__ import annotations

import asyncio
import json
import os
import socket
import sys
import urllib.error
import urllib.request
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import ExitStack, asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from signal import SIGKILL, SIGTERM
from typing import Any

from benchmarks.gateway.gateways import ROOT, NotStarted
from benchmarks.limits.engine import MODEL

READY_WITHIN_S = 60.0
ENDS_WITHIN_S = 15.0


@dataclass(frozen=True, slots=True)
class Replica:
    """Where it listens."""

    port: int
    admin: int


def places(count: int) -> list[Replica]:
    """Ports that nothing listens on now, each another."""
    with ExitStack() as stack:
        probes = [stack.enter_context(socket.socket()) for _ in range(2 * count)]
        for probe in probes:
            probe.bind(("127.0.0.1", 0))
        ports = [int(probe.getsockname()[1]) for probe in probes]
    return [Replica(*pair) for pair in zip(ports[::2], ports[1::2], strict=True)]


@asynccontextmanager
async def replica(
    made: Replica, folder: Path, engine: int, *, keys: Sequence[str], store: str, rules: Sequence[str], workers: int
) -> AsyncIterator[Replica]:
    """One that is ready. `engine`: port of its engine; `rules`: of every key; `store`: URL of their counts. Raises
    NotStarted."""
    url = f"http://127.0.0.1:{engine}/v1"
    wanted = {
        "listen": {"host": "127.0.0.1", "port": made.port},
        "admin": {"host": "127.0.0.1", "port": made.admin},
        "workers": workers,
        "auth": {"keys": list(keys)},
        "state": {"folder": str(folder / "state")},
        "rate_limits": {"store": store, "key": list(rules)},
        "engines": [{"kind": "http", "name": "mock", "url": url, "models": [MODEL], "metrics": "off"}],
        "log": {"access": str(folder / "access.jsonl")},
    }
    config, output = _prepare(folder, wanted)
    with output.open("wb") as out:
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "penstock", "up", "-c", str(config), cwd=folder, stdout=out, stderr=out,
            start_new_session=True, env=os.environ | {"PYTHONPATH": str(ROOT / "src")},
        )  # fmt: skip
    try:
        try:
            async with asyncio.timeout(READY_WITHIN_S):
                while not await asyncio.to_thread(_ready, made.admin, workers):
                    if process.returncode is not None:
                        raise NotStarted(f"a replica ended: {output.read_text(errors='replace')[-1500:]}")
                    await asyncio.sleep(0.1)
        except TimeoutError:
            raise NotStarted(f"a replica is not ready: {output.read_text(errors='replace')[-1500:]}") from None
        yield made
    finally:
        await _stop(process)


def records(folder: Path) -> Iterator[dict[str, Any]]:
    """What a replica in this folder has written of requests that have ended."""
    with (folder / "access.jsonl").open("rb") as lines:
        yield from map(json.loads, lines)


def _prepare(folder: Path, wanted: dict[str, object]) -> tuple[Path, Path]:
    """A folder of its own: its config, and what it will print."""
    folder.mkdir(parents=True)
    config = folder / "penstock.yaml"
    config.write_text(json.dumps(wanted))  # JSON is YAML
    return config, folder / "output.log"


def _ready(admin: int, workers: int) -> bool:
    """Whether all of its workers are up and know of the engine."""
    text = _read(f"http://127.0.0.1:{admin}/metrics")
    return f"\npenstock_workers {workers}" in text and bool(_read(f"http://127.0.0.1:{admin}/readyz"))


def _read(url: str) -> str:
    """The body of a 200; empty otherwise."""
    direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with direct.open(url, timeout=5) as answer:
            return str(answer.read().decode()) if answer.status == 200 else ""
    except (OSError, urllib.error.HTTPError):
        return ""


async def _stop(process: asyncio.subprocess.Process) -> None:
    """It and all that it has started."""
    for name in (SIGTERM, SIGKILL):
        with suppress(ProcessLookupError):
            os.killpg(process.pid, name)
        with suppress(TimeoutError):
            async with asyncio.timeout(ENDS_WITHIN_S):
                await process.wait()
            return
