"""Reads an engine's metrics now and then, and keeps the last reading."""

import asyncio
from collections.abc import Callable

import httpx

from penstock.core.clock import monotonic
from penstock.core.load import Load
from penstock.wire.dialects import read_load

LONGEST_METRICS = 8 * 1024 * 1024
"""Bytes; a longer text is nobody's metrics."""


class Scraper:
    """`load` is None until the first reading. An engine that stops telling keeps its last one, which grows old."""

    def __init__(self, dialect: str, interval_s: float) -> None:
        self._dialect = dialect
        self._interval_s = interval_s
        self.load: Load | None = None
        self.error = ""
        """Why the last reading failed; empty when it did not."""

    async def run(self, client: httpx.AsyncClient, url: Callable[[], str]) -> None:
        """Reads until cancelled. `url` may change, and is empty while there is nothing to read."""
        while True:
            if address := url():
                await self._read(client, address)
            await asyncio.sleep(self._interval_s)

    async def _read(self, client: httpx.AsyncClient, url: str) -> None:
        path = httpx.URL(url).path
        try:
            async with client.stream("GET", url, headers={"accept": "text/plain"}) as response:
                if response.status_code != 200:
                    self.error = f"GET {path} answered {response.status_code}"
                    return
                text = bytearray()
                async for piece in response.aiter_bytes():
                    text += piece
                    if len(text) > LONGEST_METRICS:
                        self.error = f"GET {path} answered more than {LONGEST_METRICS} bytes"
                        return
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            self.error = f"{type(error).__name__}: {error}".rstrip(": ")
            return
        self.error = ""
        self.load = read_load(bytes(text), monotonic(), dialect=self._dialect)
