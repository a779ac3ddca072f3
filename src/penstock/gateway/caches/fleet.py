"""The caches of all engines that tell what is in them."""

import asyncio
from collections.abc import Callable, Iterable
from functools import partial

from penstock.core.endpoint import Endpoint
from penstock.core.tasks import Tasks
from penstock.gateway.caches.follow import Follower, OpenSource
from penstock.gateway.caches.news import Cached

Address = tuple[str, str]


class Caches:
    """Follows engines while they are ready. One that leaves and comes back is asked anew: it may have restarted."""

    def __init__(self, open_source: OpenSource, tell: Callable[[Cached], None]) -> None:
        self._open_source = open_source
        self._tell = tell
        self._tasks = Tasks()
        self._followed: dict[str, tuple[Address, Follower, asyncio.Task[None]]] = {}

    def follow(self, endpoints: Iterable[Endpoint]) -> None:
        """Takes the engines as they are now."""
        wanted = {each.name: (each.kv_events, each.kv_replay) for each in endpoints if each.ready and each.kv_events}
        for name, (address, _, task) in list(self._followed.items()):
            if wanted.get(name) != address:
                task.cancel()
                del self._followed[name]
        for name, address in wanted.items():
            if name not in self._followed:
                follower = Follower(name, partial(self._open_source, *address), self._tell)
                self._followed[name] = (address, follower, self._tasks.spawn(follower.run()))

    @property
    def followers(self) -> list[Follower]:
        """Of the engines that are ready now."""
        return [follower for _, follower, _ in self._followed.values()]

    def snapshot(self) -> list[Cached]:
        """All that is known, for a new worker."""
        return [news for follower in self.followers for news in follower.snapshot()]

    def describe(self, engine: str) -> dict[str, object] | None:
        """What is known of one engine's cache, for people; None when it is not followed."""
        followed = self._followed.get(engine)
        return followed[1].describe() if followed is not None else None

    async def close(self) -> None:
        """Follows no more."""
        self._followed.clear()
        await self._tasks.cancel()
