"""The platform as its users run it: `python -m penstock up` with a config file, in a process of its own."""

import asyncio
import contextlib
import json
import os
import re
import signal
import ssl
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
from openai import AsyncOpenAI, DefaultAsyncHttpxClient
from prometheus_client.parser import text_string_to_metric_families

from tests.faults.upstream import Upstream
from tests.faults.world import until

ANY_PORT = {"listen": {"port": 0}, "admin": {"port": 0}}
OVERRIDES = frozenset({"HOST", "PORT", "ADMIN_PORT"})


def engine(upstream: Upstream, name: str = "far", **more: object) -> dict[str, object]:
    """The config of a scripted engine, whose script is not to be asked for metrics."""
    return {"kind": "http", "name": name, "url": upstream.url, "probe_interval": 0.1, "metrics": "off", **more}


class Platform:
    """A running platform. `config` may be changed and handed over with `reload`."""

    def __init__(self, folder: Path, process: asyncio.subprocess.Process, config: dict[str, Any]) -> None:
        self.folder = folder
        self.process = process
        self.config = config
        self.banner = ""

    # -- where things are -------------------------------------------------------------------------------------------

    @property
    def api(self) -> str:
        return self._address("API").removesuffix("/v1")

    @property
    def admin(self) -> str:
        return self._address("Console")

    def _address(self, name: str) -> str:
        found = re.search(rf"^ *{name} +(\S+)", self.banner, re.MULTILINE)
        assert found is not None, self.banner
        return found[1]

    @property
    def log(self) -> str:
        return (self.folder / "stderr").read_text()

    def records(self) -> list[dict[str, Any]]:
        """The access log: one Record a line."""
        path = self.folder / "access.log"
        return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []

    async def so_far(self) -> int:
        """How many requests have ended, once nothing runs and all of them are in the access log."""
        async with asyncio.timeout(30):
            while True:
                running = await self.metric("penstock_requests_in_flight")
                total = int(await self.metric("penstock_requests_total"))
                if not running and total == len(self.records()):
                    return total
                await asyncio.sleep(0.02)

    async def ended(self, count: int) -> list[dict[str, Any]]:
        """The Records, once there are `count`. More are an error."""
        with contextlib.suppress(TimeoutError):
            await until(lambda: len(self.records()) >= count)
        records = self.records()
        assert len(records) == count, records
        return records

    # -- clients ----------------------------------------------------------------------------------------------------

    def http(self, verify: ssl.SSLContext | bool = True) -> httpx.AsyncClient:
        return httpx.AsyncClient(base_url=self.api, trust_env=False, timeout=30.0, verify=verify)

    def openai(self, key: str = "none") -> AsyncOpenAI:
        """The official client without its own retries."""
        client = DefaultAsyncHttpxClient(trust_env=False)
        return AsyncOpenAI(base_url=f"{self.api}/v1", api_key=key, max_retries=0, timeout=60.0, http_client=client)

    async def ask_admin(self, path: str, **options: Any) -> httpx.Response:
        async with httpx.AsyncClient(base_url=self.admin, trust_env=False, timeout=10.0) as client:
            return await client.get(path, **options)

    async def why(self, request_id: str) -> dict[str, Any]:
        """The account of a request. Asked again while a worker does not answer: engines may leave it no core."""
        async with asyncio.timeout(60):
            answer = await self.ask_admin(f"/admin/why/{request_id}")
            while answer.status_code == 503:
                await asyncio.sleep(0.2)
                answer = await self.ask_admin(f"/admin/why/{request_id}")
        assert answer.status_code == 200, answer.text
        account: dict[str, Any] = answer.json()
        return account

    async def metric(self, sample: str, **labels: str) -> float:
        """Sum of a metric's samples that carry `labels`."""
        text = (await self.ask_admin("/metrics")).text
        return sum(
            found.value
            for family in text_string_to_metric_families(text)
            for found in family.samples
            if found.name == sample and labels.items() <= found.labels.items()
        )

    async def metric_becomes(self, expected: float, sample: str, within: float = 5.0, **labels: str) -> None:
        """Workers enter what has ended a few times a second, so figures follow events with a short delay."""
        async with asyncio.timeout(within):
            while await self.metric(sample, **labels) != expected:  # noqa: ASYNC110 - another process's news
                await asyncio.sleep(0.02)

    async def engine_is(self, state: str, index: int = 0, within: float = 20.0) -> dict[str, Any]:
        """Waits for an engine's state; its row of /admin/engines."""
        async with asyncio.timeout(within):
            while True:
                row: dict[str, Any] = (await self.ask_admin("/admin/engines")).json()["engines"][index]
                if row["state"] == state:
                    return row
                await asyncio.sleep(0.02)

    # -- processes --------------------------------------------------------------------------------------------------

    def children(self, module: str) -> list[int]:
        """Process ids of the children that run a Python module."""
        pid = self.process.pid
        found = []
        for child in map(int, Path(f"/proc/{pid}/task/{pid}/children").read_text().split()):
            with contextlib.suppress(OSError):
                if module.encode() in Path(f"/proc/{child}/cmdline").read_bytes().split(b"\0"):
                    found.append(child)
        return found

    def workers(self) -> list[int]:
        return self.children("penstock.gateway.worker")

    def write(self, config: dict[str, Any]) -> None:
        (self.folder / "penstock.yaml").write_text(json.dumps(config))  # JSON is YAML

    async def reload(self, config: dict[str, Any], *, taken: bool) -> None:
        """SIGHUP with a new config; returns when it was taken over or refused."""
        name = "penstock_config_reloads_total" if taken else "penstock_config_reload_failures_total"
        before = await self.metric(name)
        self.write(config)
        self.process.send_signal(signal.SIGHUP)
        await self.metric_becomes(before + 1, name, within=20.0)

    async def stop(self) -> int:
        """SIGTERM; the exit status."""
        if self.process.returncode is None:
            self.process.send_signal(signal.SIGTERM)
        async with asyncio.timeout(20):
            return await self.process.wait()


def memory(pid: int) -> int:
    """Resident bytes of a process."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def command(folder: Path, *options: str) -> list[str]:
    return [sys.executable, "-m", "penstock", "up", "-c", str(folder / "penstock.yaml"), *options]


def environment() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if name not in OVERRIDES}


@asynccontextmanager
async def up(folder: Path, config: dict[str, Any], within: float = 60.0) -> AsyncIterator[Platform]:
    """Starts the platform on ports of its own and waits for the banner."""
    config = ANY_PORT | {"log": {"access": str(folder / "access.log")}} | config
    with (folder / "stderr").open("wb") as stderr:
        (folder / "penstock.yaml").write_text(json.dumps(config))
        process = await asyncio.create_subprocess_exec(
            *command(folder), stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE, stderr=stderr,
            env=environment(),
        )  # fmt: skip
    platform = Platform(folder, process, config)
    assert process.stdout is not None
    try:
        async with asyncio.timeout(within):
            while "Ctrl-C stops it" not in platform.banner:
                line = await process.stdout.readline()
                assert line, f"it ended before it was ready:\n{platform.log}"
                platform.banner += line.decode()
        yield platform
    finally:
        try:
            await platform.stop()
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()


async def refused(folder: Path, config: dict[str, Any], *options: str) -> tuple[int | None, str]:
    """Exit status and stderr of a platform that must not start."""
    (folder / "penstock.yaml").write_text(json.dumps(config))
    process = await asyncio.create_subprocess_exec(
        *command(folder, *options), stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.PIPE,
        env=environment(),
    )  # fmt: skip
    async with asyncio.timeout(20):
        _, stderr = await process.communicate()
    return process.returncode, stderr.decode()
