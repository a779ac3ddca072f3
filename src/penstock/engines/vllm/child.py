"""One vLLM behind its guard."""

import asyncio
import contextlib
import re
import signal
import sys
from asyncio.subprocess import PIPE
from collections.abc import Callable, Mapping, Sequence

import msgspec

from penstock.core.errors import ModelError
from penstock.engines.process.child import LINE_LIMIT, Child
from penstock.engines.process.guard import Started

GUARD_PATIENCE_S = 10.0
"""How long the guard may take to sweep a killed group. It is killed itself after that."""
USAGE = 2
"""Exit status of a program that does not understand its command line."""

_ERROR = re.compile(r"(?:[A-Za-z_.]*(?:Error|Exception)|\berror): .+")
_ECHO = "See root cause above"
"""vLLM's parent process ends its log so; what matters came before."""


class VllmChild(Child):
    """A started vLLM: `pid` is vLLM's own, the process that is waited for is the guard."""

    program = 0
    """vLLM's process id, once the guard has told it."""

    @classmethod
    async def spawn(
        cls, command: Sequence[str], grace_s: float, environ: Mapping[str, str], on_log: Callable[[str], None]
    ) -> "VllmChild":
        """Starts guard and program. Raises OSError."""
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "penstock.engines.process.guard",
            f"{grace_s:g}",
            *command,
            stdin=PIPE,
            stdout=PIPE,
            stderr=PIPE,
            env=environ,
            limit=LINE_LIMIT,
            start_new_session=True,
        )
        return cls(process, "vLLM", last_errors, on_log)

    @property
    def pid(self) -> int:
        return self.program

    @property
    def signalled(self) -> int:
        status = self._process.returncode or 0
        return status - 128 if status > 128 else max(0, -status)

    @property
    def misunderstood(self) -> bool:
        """Whether it ended because of its command line."""
        return self._process.returncode == USAGE

    async def started(self) -> None:
        """Waits until the program runs. Raises ModelError."""
        assert self._process.stdout is not None
        line = await self._process.stdout.readline()
        try:
            said = msgspec.json.decode(line, type=Started)
        except msgspec.MsgspecError:
            await self.ended()
            raise ModelError(self.epitaph()) from None
        if said.error:
            raise ModelError(f"vLLM cannot be started: {said.error}")
        self.program = said.pid

    async def kill(self) -> None:
        if self._process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                self._process.send_signal(signal.SIGQUIT)
            await asyncio.wait([self.exited], timeout=GUARD_PATIENCE_S)
        await super().kill()


def last_errors(lines: Sequence[str]) -> str:
    """The last error that a log reports, on one line; empty when it reported none."""
    found = [matched[0].strip() for line in lines if (matched := _ERROR.search(line)) and _ECHO not in line]
    return found[-1][:600] if found else ""
