"""How late a process's event loop is, and how long its garbage collector stops it."""

import asyncio
import gc
from collections.abc import Callable, Mapping

from penstock.telemetry.meter import Meter

EVERY_S = 0.1
"""Between two looks: a timer that does so little ten times a second is not seen in any measurement."""
WINDOW_S = 10.0
"""The largest lag is kept for one to two of these."""


class Pulse:
    """Looks from `start` to `stop`. Lag is what passes beyond the time after which a timer was to wake."""

    def __init__(self, meter: Meter, worker: str, clock: Callable[[], float]) -> None:
        self._meter = meter
        self._worker = worker
        self._clock = clock
        self._loop: asyncio.AbstractEventLoop | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._due = 0.0
        self._most = self._most_before = 0.0
        self._turn = 0.0
        self._collecting = 0.0
        self._pauses: list[tuple[int, float]] = []

    def start(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._turn = self._clock() + WINDOW_S
        self._wait(self._clock())
        gc.callbacks.append(self.collected)

    def stop(self) -> None:
        """May be called twice, and before `start`."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
            gc.callbacks.remove(self.collected)

    def collected(self, phase: str, info: Mapping[str, int]) -> None:
        """What `gc.callbacks` calls, wherever the process is: it only notes, and the next look counts."""
        if phase == "start":
            self._collecting = self._clock()
        else:
            self._pauses.append((info["generation"], self._clock() - self._collecting))

    def look(self) -> None:
        """One look, and the timer of the next."""
        now = self._clock()
        lag = max(0.0, now - self._due)
        if now >= self._turn:
            self._most_before, self._most, self._turn = self._most, 0.0, now + WINDOW_S
        self._most = max(self._most, lag)
        self._meter.add_lag(self._worker, lag, max(self._most, self._most_before))
        pauses, self._pauses = self._pauses, []
        self._meter.add_pauses(self._worker, pauses)
        self._wait(now)

    def _wait(self, now: float) -> None:
        assert self._loop is not None
        self._due = now + EVERY_S
        self._timer = self._loop.call_later(EVERY_S, self.look)
