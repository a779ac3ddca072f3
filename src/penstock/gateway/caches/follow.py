"""Follows what one engine says of its KV cache."""

import asyncio
import logging
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager
from itertools import islice
from math import exp
from typing import Protocol

from penstock.core.clock import monotonic
from penstock.engines.kv_batches import Cleared, Event, Gap, Removed, Stored
from penstock.engines.kv_blocks import EngineBlocks
from penstock.gateway.caches.news import Cached

log = logging.getLogger("penstock.fleet")

TELL_S = 0.01
"""Changes are gathered for so long before the workers are told."""
MOST_TOLD = 2048
"""Entries of one message: a worker takes them in about a millisecond, and no stream waits longer."""
BREATH = 256
"""Events after which others get a turn: a replay brings thousands at once."""
AGAIN_S = 1.0
"""Between two tries to follow an engine whose events cannot be read."""
RATE_S = 10.0
"""Time over which the rate of events is taken."""


class Source(Protocol):
    """Events without end. See `engines.kv_events.KvEvents`."""

    @property
    def last(self) -> int: ...

    def __aiter__(self) -> AsyncIterator[Event]: ...


OpenSource = Callable[[str, str], AbstractAsyncContextManager[Source]]
"""(publisher, replay) -> events."""


class Rate:
    """Events per second of late: older ones fade."""

    def __init__(self) -> None:
        self._rate = 0.0
        self._at = monotonic()

    def count(self) -> None:
        self._rate = self.now() + 1.0 / RATE_S

    def now(self) -> float:
        now = monotonic()
        self._rate *= exp((self._at - now) / RATE_S)
        self._at = now
        return self._rate


class Follower:
    """One engine's cache, kept up to date while `run` runs. `tell` hears of each change, a moment later."""

    def __init__(
        self,
        engine: str,
        open_source: Callable[[], AbstractAsyncContextManager[Source]],
        tell: Callable[[Cached], None],
    ) -> None:
        self.engine = engine
        self.events = 0
        """Events taken so far."""
        self.gaps = 0
        """Batches lost for good."""
        self.last = -1
        """Number of the last batch."""
        self._open_source = open_source
        self._tell = tell
        self._blocks = EngineBlocks()
        self._rate = Rate()
        self._begun = self._lost = False
        """Since the source was opened, or the cache was empty: whether anything came, and whether anything is missing.
        Numbers begin at 0, so what came before us is missing too unless it is sent again."""
        self._changed: dict[int, bool] = {}
        """Entry -> whether it is there now, of those that came or went since the last telling."""
        self._void = self._empty = False
        self._timer: asyncio.TimerHandle | None = None
        self._error = ""

    async def run(self) -> None:
        """Follows until cancelled."""
        try:
            while True:
                self._start_anew(empty=False)
                self._begun = self._lost = False
                try:
                    async with self._open_source() as source:
                        await self._follow(source)
                except Exception as error:
                    self._error = str(error)
                    log.exception("%s: its KV events cannot be read; another try follows", self.engine)
                await asyncio.sleep(AGAIN_S)
        finally:
            if self._timer is not None:
                self._timer.cancel()

    @property
    def whole(self) -> bool:
        """Whether all that is in the cache is known."""
        return self._begun and not self._lost

    async def _follow(self, source: Source) -> None:
        async for event in source:
            self._error = ""
            self.last = source.last
            self.events += 1
            self._rate.count()
            self._take(event)
            self._tell_soon()
            if not self.events % BREATH:
                await asyncio.sleep(0)

    def _take(self, event: Event) -> None:
        self._begun = True
        match event:
            case Stored():
                self._changed.update(dict.fromkeys(self._blocks.stored(event), True))
            case Removed():
                self._changed.update(dict.fromkeys(self._blocks.removed(event), False))
            case Cleared():
                self._start_anew(empty=True)
                self._lost = False
            case Gap():
                self.gaps += event.batches
                log.warning("%s: %d batches of its KV events are lost", self.engine, event.batches)
                self._start_anew(empty=False)
                self._lost = True

    def _start_anew(self, *, empty: bool) -> None:
        self._blocks.clear()
        self._changed.clear()
        self._void = True
        self._empty = self._empty or empty
        self._tell_soon()

    def _tell_soon(self) -> None:
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(TELL_S, self._tell_changes)

    def _tell_changes(self) -> None:
        self._timer = None
        changed, self._changed = self._changed, {}
        came = [entry for entry, there in changed.items() if there]
        gone = [] if self._void else [entry for entry, there in changed.items() if not there]
        for news in self._in_parts(came, gone, void=self._void, empty=self._empty):
            self._tell(news)
        self._void = self._empty = False

    def snapshot(self) -> list[Cached]:
        """All that is known, for somebody who knows nothing."""
        return self._in_parts(list(self._blocks.entries), [], void=True, empty=False)

    def _in_parts(self, came: list[int], gone: list[int], *, void: bool, empty: bool) -> list[Cached]:
        size, left, right = self._blocks.block_tokens, iter(came), iter(gone)
        parts: list[Cached] = []
        while True:
            stored, removed = list(islice(left, MOST_TOLD)), list(islice(right, MOST_TOLD))
            if parts and not stored and not removed:
                return parts
            parts.append(Cached(self.engine, stored, removed, void, empty, self.whole, size))
            void = empty = False

    def row(self) -> list[float]:
        """Of the metrics CACHES."""
        return [self.events, self.gaps, len(self._blocks.entries), self.whole]

    def describe(self) -> dict[str, object]:
        """For people."""
        return {
            "events": self.events,
            "events_per_s": round(self._rate.now(), 3),
            "blocks": len(self._blocks.entries),
            "block_tokens": self._blocks.block_tokens or None,
            "gaps": self.gaps,
            "last_number": self.last if self.last >= 0 else None,
            "whole": self.whole,
            "error": self._error or None,
        }
