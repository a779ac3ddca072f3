"""When to stop sending to one engine, and how to find out that it is well again.

closed --failures--> open --time--> half_open --probes succeed--> closed
                       ^                |
                       +--one fails-----+   each time for longer: open * growth ** (times - 1), capped
"""

from collections import deque
from collections.abc import Sequence
from enum import StrEnum
from typing import Annotated

import msgspec
from msgspec import Meta

MOST_RESULTS = 512
"""Results kept per engine for the failure rate; at higher traffic the window is shorter than configured."""


class BreakerSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """When an engine is taken out for failing, and for how long."""

    consecutive: Annotated[int, Meta(ge=0, description="Failures in a row that open it; 0: only the rate does")] = 5
    rate: Annotated[float, Meta(gt=0, le=1, description="Share of failures in the window that opens it")] = 0.5
    window: Annotated[float, Meta(gt=0, le=3600, description="Seconds over which the share is taken")] = 30.0
    minimum: Annotated[int, Meta(ge=1, le=MOST_RESULTS, description="Results the share needs")] = 20
    open: Annotated[float, Meta(gt=0, le=3600, description="Seconds it stays open the first time")] = 5.0
    growth: Annotated[float, Meta(ge=1, le=10, description="Factor on that for each further time in a row")] = 2.0
    open_cap: Annotated[float, Meta(gt=0, le=86400, description="Seconds it stays open at most")] = 120.0
    probes: Annotated[int, Meta(ge=1, le=100, description="Requests at once that try a half-open engine")] = 1
    successes: Annotated[int, Meta(ge=1, le=100, description="Probes in a row that must succeed to close it")] = 2
    probe_lost: Annotated[
        float, Meta(gt=0, le=86400, description="Seconds after which a probe without a result frees its place")
    ] = 300.0


class State(StrEnum):
    """Where a breaker stands."""

    CLOSED = "closed"
    OPEN = "open"
    HALF_OPEN = "half_open"


class Breaker:
    """One engine's. `began` before each attempt and `ended` after it; `admits` says whether one may begin."""

    def __init__(self, settings: BreakerSettings) -> None:
        self._settings = settings
        self._results: deque[tuple[float, bool]] = deque(maxlen=MOST_RESULTS)
        self._failed = 0
        """Failures in `_results`."""
        self._in_a_row = 0
        self._state = State.CLOSED
        self._since = float("-inf")
        """When the present state began."""
        self._until = 0.0
        self._probes: list[float] = []
        """When each running probe began."""
        self._succeeded = 0
        self.opened = 0
        """Times in a row that it opened without having closed in between."""
        self.reason = ""
        """Why it last opened."""

    def state(self, now: float) -> State:
        """Where it stands; an open one whose time is over becomes half-open here."""
        if self._state is State.OPEN and now >= self._until:
            self._state = State.HALF_OPEN
            self._since = self._until
            self._probes.clear()
            self._succeeded = 0
        return self._state

    def admits(self, now: float) -> bool:
        """Whether an attempt may begin: always when closed, never when open, a few when half-open."""
        state = self.state(now)
        if state is not State.HALF_OPEN:
            return state is State.CLOSED
        lost = now - self._settings.probe_lost
        self._probes = [began for began in self._probes if began > lost]
        return len(self._probes) < self._settings.probes

    def began(self, now: float) -> None:
        """An attempt was sent. In half-open it is a probe."""
        if self.state(now) is State.HALF_OPEN:
            self._probes.append(now)

    def ended(self, now: float, ok: bool | None, code: str = "", since: float | None = None) -> None:
        """An attempt has ended; `ok` is None when that tells nothing of the engine (the client left).

        `since` is when it began: what began before the present state says nothing about it. Without it every result
        counts.
        """
        state = self.state(now)
        if state is State.OPEN or (state is State.HALF_OPEN and since is not None and since < self._since):
            return
        if state is State.HALF_OPEN:
            self._probed(now, ok, code)
        elif ok is not None and (since is None or since >= self._since):
            self._counted(now, ok, code)

    def succeeded(self, times: Sequence[float]) -> None:
        """Attempts that ended well at these times, in order, while it was closed. As `ended` for each."""
        if self._state is not State.CLOSED or not times:
            return
        self._forget_before(times[-1] - self._settings.window, MOST_RESULTS - len(times))
        self._results.extend([(now, True) for now in times[-MOST_RESULTS:]])
        self._in_a_row = 0

    @property
    def until(self) -> float:
        """When an open one becomes half-open; meaningless otherwise."""
        return self._until

    @property
    def probing(self) -> int:
        """Probes on their way."""
        return len(self._probes)

    def _probed(self, now: float, ok: bool | None, code: str) -> None:
        if self._probes:
            self._probes.pop(0)
        if ok is None:
            return
        if not ok:
            self._open(now, f"a probe failed ({code or 'no code'})")
            return
        self._succeeded += 1
        if self._succeeded >= self._settings.successes:
            self._state = State.CLOSED
            self._since = now
            self.opened = 0
            self._forget()

    def _counted(self, now: float, ok: bool, code: str) -> None:
        settings = self._settings
        results = self._results
        self._forget_before(now - settings.window, MOST_RESULTS - 1)
        results.append((now, ok))
        self._failed += not ok
        self._in_a_row = 0 if ok else self._in_a_row + 1
        if ok:
            return
        if settings.consecutive and self._in_a_row >= settings.consecutive:
            self._open(now, f"{self._in_a_row} failures in a row, the last {code or 'without a code'}")
        elif len(results) >= settings.minimum and self._failed >= settings.rate * len(results):
            self._open(now, f"{self._failed} of {len(results)} failed in {settings.window:g} s")

    def _forget_before(self, oldest: float, most: int) -> None:
        """Drops results as old as `oldest`, and the oldest while there are more than `most`."""
        results = self._results
        while results and (results[0][0] <= oldest or len(results) > most):
            self._failed -= not results.popleft()[1]

    def _open(self, now: float, reason: str) -> None:
        settings = self._settings
        self.opened += 1
        self.reason = reason
        longer = settings.growth ** min(self.opened - 1, 64)
        self._state = State.OPEN
        self._since = now
        self._until = now + min(settings.open_cap, settings.open * longer)
        self._probes.clear()
        self._forget()

    def _forget(self) -> None:
        self._results.clear()
        self._failed = 0
        self._in_a_row = 0
