"""One child process: its pipes, its last words, its end."""

import asyncio
import contextlib
import signal
import sys
from asyncio.subprocess import PIPE, Process
from collections import deque
from collections.abc import Callable, Mapping

import msgspec

from penstock.core.errors import ModelError
from penstock.core.tasks import Tasks
from penstock.engines.llamacpp.settings import Hello, Launch
from penstock.engines.llamacpp.threads import thread_environment

KEPT_LINES = 40
LINE_LIMIT = 1 << 20
"""Longest line of the child's log that is read whole. Bytes."""


class Child:
    """A started child. Whoever has it must `stop` or `kill` it."""

    def __init__(self, process: Process, on_log: Callable[[str], None]) -> None:
        self._process = process
        self._on_log = on_log
        self._lines: deque[str] = deque(maxlen=KEPT_LINES)
        self._tasks = Tasks()
        self._log = self._tasks.spawn(self._read_log())
        self.exited = self._tasks.spawn(process.wait())
        """Done when the process has ended."""

    @classmethod
    async def spawn(
        cls, launch: Launch, parent: int, environ: Mapping[str, str], on_log: Callable[[str], None]
    ) -> "Child":
        """Starts the process and hands it its settings. Raises OSError."""
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "penstock.engines.llamacpp.child",
            str(parent),
            stdin=PIPE,
            stdout=PIPE,
            stderr=PIPE,
            env=thread_environment(environ),
            limit=LINE_LIMIT,
            start_new_session=True,
        )
        child = cls(process, on_log)
        assert process.stdin is not None
        # A write that fails means it died already, which `exited` tells. The pipe holds a line of this size.
        process.stdin.write(msgspec.json.encode(launch) + b"\n")
        return child

    @property
    def pid(self) -> int:
        return self._process.pid

    async def hello(self) -> Hello:
        """Its first line. Raises ModelError when it ended without one."""
        assert self._process.stdout is not None
        line = await self._process.stdout.readline()
        if not line:
            await self.exited
            await self._log
            raise ModelError(self.epitaph())
        try:
            hello = msgspec.json.decode(line, type=Hello)
        except msgspec.MsgspecError as error:
            raise ModelError(f"the child's first line cannot be read: {error}") from error
        if not hello.ready and not hello.fatal:
            await self.exited
            await self._log
            return msgspec.structs.replace(hello, error=self.last_words() or hello.error)
        return hello

    def epitaph(self) -> str:
        """How it ended, and what it said last."""
        status = self._process.returncode
        if status is None:
            how = "llama.cpp was stopped"
        elif status < 0:
            how = f"llama.cpp was ended by {_signal_name(-status)}"
        else:
            how = f"llama.cpp ended with status {status}"
        words = self.last_words()
        return f"{how}: {words}" if words else how

    def last_words(self) -> str:
        """The errors of its log's end on one line; empty when it reported none."""
        # `0.01.709.359 E srv init: ...`: the second word is the level.
        errors = [line for line in self._lines if line.split(" ", 2)[1:2] == ["E"]]
        errors = errors or [line for line in self._lines if "rror" in line]
        return "; ".join(line.split(" E ", 1)[-1].strip() for line in errors[-2:])[:600]

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
        """SIGKILL, if it still lives. Returns when the process is gone."""
        if self._process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                self._process.kill()
        await asyncio.wait([self.exited])
        assert self._process.stdin is not None
        self._process.stdin.close()
        await asyncio.wait([self._log])

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
