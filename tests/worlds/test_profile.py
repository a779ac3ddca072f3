"""`penstock profile` before a running platform: its processes by name, and what they tell of themselves."""

import asyncio
import json
import sys
from pathlib import Path

import pytest

from tests.faults.upstream import Upstream
from tests.worlds.platform import engine, environment, up

pytestmark = pytest.mark.anyio


async def profile(folder: Path, *options: str) -> tuple[int | None, str, str]:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "penstock", "profile", *options, cwd=folder, stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE, env=environment(),
    )  # fmt: skip
    async with asyncio.timeout(60):
        out, err = await process.communicate()
    return process.returncode, out.decode(), err.decode()


async def test_the_gateway_by_name(tmp_path: Path) -> None:
    async with Upstream() as upstream, up(tmp_path, {"workers": 2, "engines": [engine(upstream)]}) as platform:
        supervisor, workers = platform.process.pid, platform.workers()
        config = tmp_path / "asks.yaml"
        config.write_text(json.dumps({"admin": {"port": int(platform.admin.rpartition(":")[2])}}))
        asked = ("-c", str(config), "--for", "1s", "--no-stacks", "--json")
        code, out, err = await profile(tmp_path, "--gateway", "--memory", *asked)
        assert code == 0, err
        told = json.loads(out)
        assert [each["pid"] for each in told["processes"]] == [supervisor, *sorted(workers)]
        assert [each["role"] for each in told["processes"]] == ["supervisor", "worker", "worker"]
        assert [each["worker"] for each in told["workers"]] == sorted(workers)
        assert all(each["looks"] >= 5 for each in told["workers"])
        assert sorted(each["worker"] for each in told["objects"]) == sorted(workers)
        code, out, err = await profile(tmp_path, *asked)
        assert (code, out) == (2, "")
        assert all(f"worker {pid}" in err for pid in workers)
        code, _, err = await profile(tmp_path, "--engine", "far", *asked)
        assert code == 2
        assert "was not started by Penstock" in err
