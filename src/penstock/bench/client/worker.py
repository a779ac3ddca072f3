"""A client process: `python -m penstock.bench.client.worker`. Reads Tasks from stdin and writes Words to stdout."""

from __future__ import annotations

import asyncio
import gc
import resource
import signal
import sys

import msgspec
import uvloop

from penstock.bench.client.driver import Driver
from penstock.bench.client.messages import LENGTH, Task, frame
from penstock.core.tasks import Tasks

TELL_S = 0.25


async def serve() -> None:
    """One Task after the other, until stdin ends."""
    loop = asyncio.get_running_loop()
    reader = asyncio.StreamReader()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    decode = msgspec.msgpack.Decoder(Task).decode
    while True:
        try:
            (size,) = LENGTH.unpack(await reader.readexactly(LENGTH.size))
            task = decode(await reader.readexactly(size))
        except asyncio.IncompleteReadError:
            return
        gc.collect()
        gc.freeze()  # the plan is not looked through again while answers come
        driver = Driver(task)
        loop.add_signal_handler(signal.SIGINT, driver.stop)
        tasks = Tasks()
        tasks.spawn(_tell(driver))
        try:
            done = await driver.run()
        finally:
            await tasks.cancel()
        _write(frame(done))


async def _tell(driver: Driver) -> None:
    while True:
        await asyncio.sleep(TELL_S)
        _write(frame(driver.lately()))


def _write(data: bytes) -> None:
    sys.stdout.buffer.write(data)
    sys.stdout.buffer.flush()


def main() -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < hard:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    uvloop.run(serve())


if __name__ == "__main__":
    main()
