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
from benchmarks.routing.engines import MODEL, Engine
from benchmarks.routing.workloads import words

STOPPED_S, RUNNING_S = 0.08, 0.02
"""Of a slowed engine, in turn: it gets a fifth of its time."""
FILLERS = 6
"""Requests past the gateway to an engine of two slots: two fill them, four wait there."""
FILLER_WORDS, FILLER_TOKENS = 560, 200
"""592 tokens to read, 200 to write: two fifths of a slot's context. Slots and queue are full, the KV cache is not."""


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
async def filled(victim: Victim) -> AsyncIterator[None]:
    """Others, who do not come through the gateway, fill its slots and its queue."""
    async with asyncio.TaskGroup() as tasks:
        fillers = [tasks.create_task(_fill(victim.engine.port, number)) for number in range(FILLERS)]
        try:
            yield
        finally:
            for filler in fillers:
                filler.cancel()


async def _fill(port: int, number: int) -> None:
    """One long request after the other, each with a prompt of its own."""
    rng = random.Random(f"filler {number}")
    while True:
        prompt = words(rng, FILLER_WORDS)
        wanted = request_bytes(port, MODEL, [{"role": "user", "content": prompt}], tokens=FILLER_TOKENS)
        with contextlib.suppress(OSError):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            try:
                writer.write(wanted)
                while await reader.read(65536):
                    pass
            finally:
                writer.close()
        await asyncio.sleep(0.1)


FAULTS: Mapping[str, Callable[[Victim], AbstractAsyncContextManager[None]]] = {
    "killed": killed,
    "paused": paused,
    "slowed": slowed,
    "filled": filled,
}
