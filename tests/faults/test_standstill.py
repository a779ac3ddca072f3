"""A gateway that did not run for a while blames nobody for it: what came meanwhile is read before timeouts count."""

import asyncio
import os
import signal
from pathlib import Path

import pytest

from tests.faults.upstream import Call, Upstream
from tests.faults.world import until
from tests.worlds.platform import engine, up

STOPPED_S = 3.0
"""Longer than the timeout below and a standstill together."""
FIRST_BYTE_S = 1.0


@pytest.mark.anyio
async def test_an_answer_that_came_while_the_worker_stood_still_is_passed_on(tmp_path: Path) -> None:
    async def soon(call: Call) -> None:
        await asyncio.sleep(0.3)
        await call.answer()

    async with Upstream(soon) as upstream:
        config = {"engines": [engine(upstream)], "timeouts": {"first_byte": FIRST_BYTE_S}, "workers": 1}
        async with up(tmp_path, config) as platform:
            (worker,) = platform.workers()
            await platform.engine_is("ready")
            async with platform.http() as client:
                asked = asyncio.ensure_future(client.post("/v1/chat/completions", json={"model": "m", "messages": []}))
                await until(lambda: upstream.calls)
                os.kill(worker, signal.SIGSTOP)
                await asyncio.sleep(STOPPED_S)
                os.kill(worker, signal.SIGCONT)
                answer = await asked
            assert answer.status_code == 200, answer.text
