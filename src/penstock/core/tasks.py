"""Background tasks that somebody holds: the event loop alone keeps only weak references to them."""

import asyncio
import logging
from collections.abc import Coroutine
from typing import Any

log = logging.getLogger("penstock.tasks")


class Tasks:
    """Starts tasks and keeps them until they end. An exception is logged, never lost."""

    def __init__(self) -> None:
        self._running: set[asyncio.Task[Any]] = set()

    def spawn(self, work: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
        task = asyncio.get_running_loop().create_task(work)
        self._running.add(task)
        task.add_done_callback(self._done)
        return task

    def _done(self, task: asyncio.Task[Any]) -> None:
        self._running.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            log.error("background task failed", exc_info=error)

    async def cancel(self) -> None:
        """Cancels what runs and waits for it."""
        running = list(self._running)
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)
