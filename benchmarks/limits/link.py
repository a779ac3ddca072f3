"""A line to a server that can be made slow: what the server says arrives later."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

PIECE = 65_536


class Link:
    """`delay_s`: from a reply of the server to its arrival."""

    def __init__(self, server: int) -> None:
        self._server = server
        self.port = 0
        self.delay_s = 0.0

    @asynccontextmanager
    async def open(self) -> AsyncIterator[Link]:
        """Listens on a free port of loopback."""
        listener = await asyncio.start_server(self._carry, "127.0.0.1", 0)
        self.port = listener.sockets[0].getsockname()[1]
        try:
            yield self
        finally:
            listener.close()

    async def _carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError):
            answers, requests = await asyncio.open_connection("127.0.0.1", self._server)
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self._pass(reader, requests, slow=False))
                tasks.create_task(self._pass(answers, writer, slow=True))
        writer.close()

    async def _pass(self, source: asyncio.StreamReader, sink: asyncio.StreamWriter, *, slow: bool) -> None:
        with suppress(OSError):
            while piece := await source.read(PIECE):
                if slow:
                    await asyncio.sleep(self.delay_s)
                sink.write(piece)
        sink.close()
