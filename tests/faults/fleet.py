"""Engines in processes of their own that can be killed, paused, slowed down and filled.

`python -m tests.faults.fleet NAME LOG PORT` prints its port and serves for ever. Every request that reaches it is a
line of LOG, which outlives the process: `NAME request-id`. `POST /mode` sets how it answers from then on.
"""

import asyncio
import os
import signal
import sys
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import httpx
import msgspec

from tests.faults.upstream import DONE, Call, Upstream, completion, delta, usage_event

ROOT = Path(__file__).parents[2]


class Mode(msgspec.Struct):
    """How an engine answers."""

    pause_s: float = 0.005
    """Before the first token, and before each further one."""
    status: str = ""
    """An error instead of an answer."""


class Served:
    """The script of one engine."""

    def __init__(self, name: str, log: Path) -> None:
        self._name = name
        self._log = os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
        self._mode = Mode()

    async def __call__(self, call: Call) -> None:
        if call.target == b"/mode":
            self._mode = msgspec.json.decode(call.body, type=Mode)
            await call.json({})
            return
        os.write(self._log, b"%b %b\n" % (self._name.encode(), call.header(b"x-request-id") or b"?"))
        mode = self._mode
        await asyncio.sleep(mode.pause_s)
        if mode.status:
            await call.json({"error": {"message": "no KV block is free"}}, mode.status.encode())
        elif b'"stream":true' in call.body:
            await call.sse(delta(self._name))
            for word in (" two", " three", " four"):
                await asyncio.sleep(mode.pause_s)
                await call.chunk(delta(word))
            await call.chunk(usage_event() + DONE)
            await call.finish()
        else:
            await call.json(completion(self._name))


class Engine:
    """One of the processes, seen from the test."""

    def __init__(self, name: str, process: asyncio.subprocess.Process, port: int) -> None:
        self.name = name
        self.port = port
        self.url = f"http://127.0.0.1:{port}"
        self._process = process

    async def mode(self, **fields: float | str) -> None:
        async with httpx.AsyncClient(trust_env=False, timeout=10.0) as client:
            (await client.post(f"{self.url}/mode", json=fields)).raise_for_status()

    async def kill(self) -> None:
        """kill -9."""
        if self._process.returncode is None:
            self._process.kill()
            await self._process.wait()

    def pause(self) -> None:
        self._process.send_signal(signal.SIGSTOP)

    def go_on(self) -> None:
        self._process.send_signal(signal.SIGCONT)


@asynccontextmanager
async def started(name: str, log: Path, port: int = 0) -> AsyncIterator[Engine]:
    """An engine on a port of its own, or on `port`."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "tests.faults.fleet", name, str(log), str(port), cwd=ROOT, stdout=asyncio.subprocess.PIPE
    )
    assert process.stdout is not None
    engine = Engine(name, process, int(await process.stdout.readline()))
    try:
        yield engine
    finally:
        await engine.kill()


@asynccontextmanager
async def fleet(count: int, log: Path) -> AsyncIterator[list[Engine]]:
    """Engines e0, e1, ..."""
    async with AsyncExitStack() as stack:
        starting = [stack.enter_async_context(started(f"e{number}", log)) for number in range(count)]
        yield [await each for each in starting]


def reached(log: Path) -> Counter[tuple[str, str]]:
    """(request id, engine) -> how many times that request reached that engine."""
    lines = log.read_text().splitlines() if log.exists() else []
    return Counter((number, engine) for engine, number in (line.split() for line in lines))


async def main(name: str, log: str, port: str) -> None:
    upstream = Upstream(Served(name, Path(log)))
    upstream.port = int(port)
    async with upstream:
        print(upstream.port, flush=True)
        await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
