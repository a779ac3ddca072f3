"""Engines that a source finds: members that come and go."""

import asyncio
import logging
from collections.abc import Callable, Sequence

from penstock.config.engines import Remote
from penstock.core.tasks import Tasks
from penstock.engines.discovery.found import Found, Source
from penstock.gateway.fleet import HttpMember, Member

log = logging.getLogger("penstock.fleet")


class FoundGroup:
    """The engines of one source. One that is no longer found takes no new requests; running ones finish."""

    def __init__(self, source: Source, settings: Remote, on_change: Callable[[], None], interval_s: float) -> None:
        self._source = source
        self._settings = settings
        self._on_change = on_change
        self._interval_s = interval_s
        self._tasks = Tasks()
        self._found: dict[str, tuple[Found, HttpMember, asyncio.Task[None]]] = {}

    @property
    def members(self) -> Sequence[Member]:
        return [member for _, member, _ in self._found.values()]

    async def run(self) -> None:
        try:
            await self._source.run(self._take)
        finally:
            await self._tasks.cancel()

    def _take(self, found: tuple[Found, ...]) -> None:
        named = {one.name: one for one in found}
        for name, (one, _, task) in list(self._found.items()):
            if named.get(name) != one:
                task.cancel()
                del self._found[name]
        for name, one in named.items():
            if name not in self._found:
                member = HttpMember(name, one.url, self._settings, self._on_change, self._interval_s)
                self._found[name] = (one, member, self._tasks.spawn(member.run()))
        log.info("found %d engines: %s", len(named), ", ".join(named) or "none")
        self._on_change()
