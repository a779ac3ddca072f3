"""A platform that may be killed: `penstock up` in a session of its own, and its commands."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import random
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx

from benchmarks.gateway.gateways import ROOT, NotStarted, free_port

START_S = 60.0
SHIP_S = 60.0
STOP_S = 40.0
READY = b"Ctrl-C stops it"


class Site:
    """Always on the same ports and the same data folder, however often it is started."""

    def __init__(self, folder: Path, config: dict[str, Any]) -> None:
        self.data = folder / "data"
        listen, admin = free_port(), free_port()
        self.api = f"http://127.0.0.1:{listen}"
        self.admin = f"http://127.0.0.1:{admin}"
        self.output = folder / "output.log"
        self._config = folder / "penstock.yaml"
        own = {
            "listen": {"host": "127.0.0.1", "port": listen},
            "admin": {"host": "127.0.0.1", "port": admin},
            "state": {"folder": str(self.data)},
        }
        self._config.write_text(json.dumps(own | config))  # JSON is YAML
        self._process: asyncio.subprocess.Process | None = None

    async def start(self) -> None:
        """Returns when it answers. Raises NotStarted with its last words."""
        with self.output.open("ab") as errors:
            process = self._process = await asyncio.create_subprocess_exec(
                sys.executable, "-m", "penstock", "up", "-c", str(self._config), stdin=asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.PIPE, stderr=errors, start_new_session=True, env=environment(self.data),
            )  # fmt: skip
        assert process.stdout is not None
        line = b""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(START_S):
                while READY not in line and (line := await process.stdout.readline()):
                    pass
        if READY not in line:
            raise NotStarted(f"the platform does not start: {self.output.read_text()[-2000:]}")

    def workers(self) -> list[int]:
        """Process ids of the workers there are now, started or about to."""
        assert self._process is not None
        pid = self._process.pid
        found = []
        for child in map(int, Path(f"/proc/{pid}/task/{pid}/children").read_text().split()):
            with contextlib.suppress(OSError):
                if b"penstock.gateway.worker" in Path(f"/proc/{child}/cmdline").read_bytes().split(b"\0"):
                    found.append(child)
        return found

    async def kill_worker(self, chance: random.Random) -> None:
        """SIGKILL to one of the workers."""
        while not (workers := self.workers()):  # noqa: ASYNC110 - another process's news
            await asyncio.sleep(0.01)
        os.kill(chance.choice(workers), signal.SIGKILL)

    async def kill(self) -> None:
        """SIGKILL to the supervisor and all its workers at once."""
        assert self._process is not None
        os.killpg(self._process.pid, signal.SIGKILL)
        await self._process.wait()

    async def kill_supervisor(self) -> None:
        """SIGKILL to the supervisor; its workers finish what they have and end."""
        assert self._process is not None
        self._process.kill()
        await self._process.wait()

    async def stop(self) -> None:
        """SIGTERM, and SIGKILL to what is left after a while."""
        process = self._process
        if process is None or process.returncode is not None:
            return
        process.terminate()
        try:
            async with asyncio.timeout(STOP_S):
                await process.wait()
        except TimeoutError:
            await self.kill()

    async def metrics(self) -> dict[str, float]:
        """The samples that have no labels."""
        async with httpx.AsyncClient(base_url=self.admin, trust_env=False) as http:
            lines = (await http.get("/metrics")).text.splitlines()
        pairs = [line.split() for line in lines if line and line[0] != "#" and "{" not in line]
        return {name: float(value) for name, value in pairs}

    async def shipped(self) -> None:
        """Returns when no journal holds anything that is not in the store. Raises TimeoutError."""
        async with asyncio.timeout(SHIP_S):
            while (await self.metrics())["penstock_ledger_lag_entries"]:  # noqa: ASYNC110 - another process's news
                await asyncio.sleep(0.1)


def environment(data: Path) -> dict[str, str]:
    """This process's, with the data folder and this checkout."""
    return os.environ | {"PENSTOCK_DATA": str(data), "PYTHONPATH": f"{ROOT / 'src'}:{ROOT}"}


async def penstock(data: Path, *arguments: str, status: tuple[int, ...] = (0,)) -> str:
    """Runs a command; what it printed. Raises RuntimeError when it ends with another status."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "penstock", *arguments, env=environment(data), cwd=data.parent,
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    out, errors = await process.communicate()
    if process.returncode not in status:
        raise RuntimeError(f"penstock {' '.join(arguments)}: {errors.decode()[-2000:]}")
    return out.decode()


@asynccontextmanager
async def engine_running(log: Path) -> AsyncIterator[str]:
    """The URL of a counting engine. At the end it has written down everything that it began."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "benchmarks.limits.counting", str(log), cwd=ROOT, stdout=asyncio.subprocess.PIPE
    )
    assert process.stdout is not None
    try:
        yield f"http://127.0.0.1:{int(await process.stdout.readline())}"
    finally:
        process.terminate()
        await process.wait()
