"""One child process: its log, its last words, its end."""

import asyncio
import contextlib
import signal
from asyncio.subprocess import Process
from collections import deque
from collections.abc import Callable, Sequence

from penstock.core.tasks import Tasks

KEPT_LINES = 200
LINE_LIMIT = 1 << 20
"""Longest line of the child's log that is read whole. Bytes."""

LAST_LINES_S = 2.0
"""How long the log may go on after the child's end."""

Words = Callable[[Sequence[str]], str]
"""The end of a log -> what it says of the failure, on one line; empty when it says nothing."""


class Child:
    """A started child whose stderr is its log. Whoever has it must `stop` or `kill` it."""

    def __init__(self, process: Process, noun: str, words: Words, on_log: Callable[[str], None]) -> None:
        self._process = process
        self._noun = noun
        self._words = words
        self._on_log = on_log
        self._lines: deque[str] = deque(maxlen=KEPT_LINES)
        self._tasks = Tasks()
        self._log = self._tasks.spawn(self._read_log())
        self.exited = self._tasks.spawn(process.wait())
        """Done when the process has ended."""

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def signalled(self) -> int:
        """The signal that ended it; 0 while it lives, or when it left by itself."""
        return max(0, -(self._process.returncode or 0))

    def epitaph(self) -> str:
        """How it ended, and what it said last."""
        if self._process.returncode is None:
            how = f"{self._noun} was stopped"
        elif self.signalled:
            how = f"{self._noun} was ended by {_signal_name(self.signalled)}"
        else:
            how = f"{self._noun} ended with status {self._process.returncode}"
        words = self.last_words()
        return f"{how}: {words}" if words else how

    def last_words(self) -> str:
        """What its log's end says of a failure; empty when it reported none."""
        return self._words(self._lines)

    async def ended(self) -> None:
        """Waits for its end, and for the last line of its log."""
        await asyncio.wait([self.exited])
        await self._end_log()

    async def stop(self, patience_s: float) -> None:
        """SIGTERM, and SIGKILL after `patience_s`. Returns when the process is gone."""
        try:
            if self._process.returncode is None:
                with contextlib.suppress(ProcessLookupError):
                    self._process.terminate()
                await asyncio.wait([self.exited], timeout=patience_s)
        finally:
            await self.kill()

    async def kill(self) -> None:
        """Ends it at once, if it still lives. Returns when the process is gone."""
        if self._process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                self._process.kill()
        await asyncio.wait([self.exited])
        assert self._process.stdin is not None
        self._process.stdin.close()
        await self._end_log()

    async def _end_log(self) -> None:
        """The rest of the log; not for ever, since a process that it left behind may hold the pipe open."""
        await asyncio.wait([self._log], timeout=LAST_LINES_S)
        await self._tasks.cancel()

    async def _read_log(self) -> None:
        assert self._process.stderr is not None
        while True:
            try:
                line = await self._process.stderr.readline()
            except ValueError:  # longer than LINE_LIMIT: asyncio has dropped it
                continue
            if not line:
                return
            text = line.decode(errors="replace").rstrip()
            if text:
                self._lines.append(text)
                self._on_log(text)


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
