"""An engine that does what a test says, and a sink that keeps what it is told."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from penstock.core.engine import ResponseHead
from penstock.core.errors import RequestError
from tests.gateway.world import PATIENCE_S, ScriptedEngine


class Told:
    """A sink that keeps what it is told."""

    def __init__(self) -> None:
        self.said: list[str] = []
        self.body = b""
        self.error: RequestError | None = None
        self.ended = asyncio.Event()

    def head(self, head: ResponseHead) -> None:
        self.said.append(f"head {head.status}")

    def data(self, piece: bytes, last: bool) -> None:
        self.said.append("last data" if last else "data")
        self.body += piece

    def end(self) -> None:
        self.said.append("end")
        self.ended.set()

    def failed(self, error: RequestError) -> None:
        self.said.append(error.code)
        self.error = error
        self.ended.set()

    async def wait(self) -> "Told":
        async with asyncio.timeout(PATIENCE_S):
            await self.ended.wait()
        return self


@pytest.fixture
async def upstream() -> AsyncIterator[ScriptedEngine]:
    upstream = ScriptedEngine("one")
    await upstream.start()
    yield upstream
    await upstream.stop()
