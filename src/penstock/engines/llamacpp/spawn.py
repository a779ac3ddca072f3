"""One llama.cpp child: its settings go in by stdin, its first line comes by stdout."""

import asyncio
import sys
from asyncio.subprocess import PIPE
from collections.abc import Callable, Mapping, Sequence

import msgspec

from penstock.core.errors import ModelError
from penstock.engines.llamacpp.settings import Hello, Launch
from penstock.engines.llamacpp.threads import thread_environment
from penstock.engines.process.child import LINE_LIMIT, Child


class LlamaCppChild(Child):
    """A started llama.cpp."""

    @classmethod
    async def spawn(
        cls, launch: Launch, parent: int, environ: Mapping[str, str], on_log: Callable[[str], None]
    ) -> "LlamaCppChild":
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
        child = cls(process, "llama.cpp", last_errors, on_log)
        assert process.stdin is not None
        # A write that fails means it died already, which `exited` tells. The pipe holds a line of this size.
        process.stdin.write(msgspec.json.encode(launch) + b"\n")
        return child

    async def hello(self) -> Hello:
        """Its first line. Raises ModelError when it ended without one."""
        assert self._process.stdout is not None
        line = await self._process.stdout.readline()
        if not line:
            await self.ended()
            raise ModelError(self.epitaph())
        try:
            hello = msgspec.json.decode(line, type=Hello)
        except msgspec.MsgspecError as error:
            raise ModelError(f"the child's first line cannot be read: {error}") from error
        if not hello.ready and not hello.fatal:
            await self.ended()
            return msgspec.structs.replace(hello, error=self.last_words() or hello.error)
        return hello


def last_errors(lines: Sequence[str]) -> str:
    """The errors of a log's end on one line; empty when it reported none."""
    # `0.01.709.359 E srv init: ...`: the second word is the level.
    errors = [line for line in lines if line.split(" ", 2)[1:2] == ["E"]]
    errors = errors or [line for line in lines if "rror" in line]
    return "; ".join(line.split(" E ", 1)[-1].strip() for line in errors[-2:])[:600]
