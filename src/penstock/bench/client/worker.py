"""A client process: `python -m penstock.bench.client.worker`. Reads Tasks from stdin and writes Words to stdout."""

from __future__ import annotations

import asyncio
import gc
import os
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
    """One Task after the other, until stdin ends or nobody reads what it tells.

    SIGINT ends the one under way and all that come after it. It is blocked until now, so that none is lost."""
    loop = asyncio.get_running_loop()
    driver: Driver | None = None
    stopped = False

    def stop() -> None:
        nonlocal stopped
        stopped = True
        if driver is not None:
            driver.stop()

    loop.add_signal_handler(signal.SIGINT, stop)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
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
        if stopped:
            driver.stop()
        tasks = Tasks()
        tasks.spawn(_tell(driver))
        try:
            done = await driver.run()
        finally:
            await tasks.cancel()
        if not _written(frame(done)):
            return


async def _tell(driver: Driver) -> None:
    while True:
        await asyncio.sleep(TELL_S)
        if not _written(frame(driver.lately())):
            driver.stop()  # whoever asked for the load was killed
            return


def _written(data: bytes) -> bool:
    """Whether somebody is there to read it."""
    try:
        sys.stdout.buffer.write(data)
        sys.stdout.buffer.flush()
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # Python writes what is left when it ends
        return False
    return True


def main() -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < hard:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    uvloop.run(serve())


if __name__ == "__main__":
    main()
