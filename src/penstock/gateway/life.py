"""Runs the life of a request without a Task.

Most lives wait once, for the answer. A Task would cost an extra trip through the event loop at the start, and context
and cancellation machinery that nothing here uses: a life is never cancelled, its waits are ended from outside.
"""

import asyncio
from collections.abc import Coroutine, Generator
from typing import Any


class Life:
    """Drives a coroutine from the callbacks of the futures it awaits. The coroutine must not raise."""

    __slots__ = ("_steps",)

    def __init__(self, coroutine: Coroutine[asyncio.Future[Any], None, None]) -> None:
        self._steps: Generator[asyncio.Future[Any], None, None] | Coroutine[asyncio.Future[Any], None, None] = coroutine
        self._step(None)

    def _step(self, _: asyncio.Future[Any] | None) -> None:
        try:
            awaited = self._steps.send(None)
        except StopIteration:
            return
        awaited.add_done_callback(self._step)
