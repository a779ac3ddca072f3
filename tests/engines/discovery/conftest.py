"""A source under watch."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager

import pytest

from penstock.engines.discovery.found import Found, Source


class Watched:
    """Every set that a running source told."""

    def __init__(self, source: Source) -> None:
        self.source = source
        self.told: list[tuple[Found, ...]] = []

    def note(self, found: tuple[Found, ...]) -> None:
        self.told.append(found)

    @property
    def urls(self) -> list[str]:
        """The addresses told last."""
        return [one.url for one in self.told[-1]] if self.told else []

    async def until(self, wanted: Callable[[], bool], timeout_s: float = 10.0) -> None:
        async with asyncio.timeout(timeout_s):
            while not wanted():  # noqa: ASYNC110 - `problem` is an attribute
                await asyncio.sleep(0.01)


@asynccontextmanager
async def _watching(source: Source) -> AsyncIterator[Watched]:
    watched = Watched(source)
    running = asyncio.ensure_future(source.run(watched.note))
    try:
        yield watched
    finally:
        running.cancel()
        await asyncio.wait([running])
        assert running.cancelled(), running.exception()


@pytest.fixture
def watching() -> Callable[[Source], AbstractAsyncContextManager[Watched]]:
    """`async with watching(source) as watched:` runs a source until the block ends."""
    return _watching
