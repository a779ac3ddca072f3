"""What may happen to an engine: each begins where its `with` does, and is over where that ends."""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import signal
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass

from benchmarks.routing.client import request_bytes
from benchmarks.routing.engines import MODEL, Engine, Kind
from benchmarks.routing.workloads import words

STOPPED_S, RUNNING_S = 0.08, 0.02
"""Of a slowed engine, in turn: it gets a fifth of its time."""


@dataclass(frozen=True, slots=True)
class Others:
    """Requests that do not come through the gateway, so many at a time, each with a prompt of its own."""

    count: int
    words: int
    """To read, about as many tokens."""
    tokens: int
    """To write."""


CROWD = Others(6, 560, 200)
"""For a llama.cpp of two slots: two run, four wait there."""
FILLING = Others(32, 40, 100)
"""For a vLLM in which most fit as long as they have written little: three blocks each at first, and six in the end.
Who waits for blocks wants few of many, so few stay free."""


@dataclass(frozen=True, slots=True)
class Victim:
    engine: Engine
    restart: Callable[[], None]
    """Starts it anew after it was killed, and waits until it is ready."""


@asynccontextmanager
async def killed(victim: Victim) -> AsyncIterator[None]:
    """SIGKILL; started again at the end."""
    os.killpg(victim.engine.process.pid, signal.SIGKILL)
    await asyncio.to_thread(victim.engine.process.wait)
    try:
        yield
    finally:
        await asyncio.to_thread(victim.restart)


@asynccontextmanager
async def paused(victim: Victim) -> AsyncIterator[None]:
    """SIGSTOP: its connections stay open and nothing comes."""
    pid = victim.engine.process.pid
    os.killpg(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.killpg(pid, signal.SIGCONT)


@asynccontextmanager
async def slowed(victim: Victim) -> AsyncIterator[None]:
    """It runs a fifth of the time."""
    pid = victim.engine.process.pid
    over = asyncio.Event()

    async def halting() -> None:
        while not over.is_set():
            os.killpg(pid, signal.SIGSTOP)
            await asyncio.sleep(STOPPED_S)
            os.killpg(pid, signal.SIGCONT)
            await asyncio.sleep(RUNNING_S)

    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(halting())
        try:
            yield
        finally:
            over.set()


@asynccontextmanager
async def crowded(victim: Victim) -> AsyncIterator[None]:
    """Others fill the slots and the queue of a llama.cpp."""
    async with _asked_by(CROWD, victim):
        yield


@asynccontextmanager
async def filled(victim: Victim) -> AsyncIterator[None]:
    """Others fill the KV cache of a vLLM."""
    async with _asked_by(FILLING, victim):
        yield


@asynccontextmanager
async def _asked_by(others: Others, victim: Victim) -> AsyncIterator[None]:
    async with asyncio.TaskGroup() as tasks:
        fillers = [tasks.create_task(_fill(victim.engine.port, others, number)) for number in range(others.count)]
        try:
            yield
        finally:
            for filler in fillers:
                filler.cancel()


async def _fill(port: int, others: Others, number: int) -> None:
    """One request after the other."""
    rng = random.Random(f"filler {number}")
    while True:
        prompt = words(rng, others.words)
        wanted = request_bytes(port, MODEL, [{"role": "user", "content": prompt}], tokens=others.tokens)
        with contextlib.suppress(OSError):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            try:
                writer.write(wanted)
                while await reader.read(65536):
                    pass
            finally:
                writer.close()
        await asyncio.sleep(0.1)


FAULTS: Mapping[Kind, Mapping[str, Callable[[Victim], AbstractAsyncContextManager[None]]]] = {
    "llamacpp": {"killed": killed, "paused": paused, "slowed": slowed, "crowded": crowded},
    "vllm": {"filled": filled},
}
"""By the kind of engine they happen to. llama.cpp gives each slot a part of its KV cache, which one request alone can
fill; vLLM's is shared by all that run."""
