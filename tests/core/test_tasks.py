"""Background tasks are held, their faults are told, and they can be ended together."""

import asyncio
import gc

import pytest

from penstock.core.tasks import Tasks

pytestmark = pytest.mark.anyio


async def test_a_task_nobody_else_holds_runs_to_its_end() -> None:
    ended = asyncio.Event()

    async def work() -> None:
        await asyncio.sleep(0)
        gc.collect()
        await asyncio.sleep(0)
        ended.set()

    Tasks().spawn(work())
    async with asyncio.timeout(30):
        await ended.wait()


async def test_a_fault_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    async def work() -> None:
        raise ValueError("told")

    task = Tasks().spawn(work())
    await asyncio.wait([task])
    await asyncio.sleep(0)
    assert "background task failed" in caplog.text
    assert "told" in caplog.text


async def test_cancel_waits_for_all(caplog: pytest.LogCaptureFixture) -> None:
    tasks, cleaned = Tasks(), []

    async def work(number: int) -> None:
        try:
            await asyncio.sleep(60)
        finally:
            await asyncio.sleep(0)
            cleaned.append(number)

    for number in range(3):
        tasks.spawn(work(number))
    await asyncio.sleep(0)
    await tasks.cancel()
    assert sorted(cleaned) == [0, 1, 2]
    assert not caplog.text
