"""Engines at addresses that do not change."""

import asyncio
from collections.abc import Sequence

from penstock.engines.discovery.found import Announcer, Found, OnFound, base_url, name_of


class StaticSource:
    """The URLs it was given."""

    def __init__(self, name: str, urls: Sequence[str]) -> None:
        """`name` goes in front of every engine's name. Raises ConfigError."""
        self.problem = ""
        self._found = [Found(name_of(name, url), url) for url in map(base_url, urls)]

    async def run(self, on_change: OnFound) -> None:
        """Tells them once."""
        Announcer(on_change).tell(self._found)
        await asyncio.Event().wait()
