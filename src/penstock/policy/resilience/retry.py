"""How many retries the traffic may carry: a budget of tokens that requests earn and time takes away.

Credits expire as in Finagle's `RetryBudget`. There the floor comes on top of the share; here it is inside:

    retries in any window  <=  max(floor, ratio * requests in that window)

so that with `requests >= floor / ratio` the amplification is at most `1 + ratio`, in every window and over a lifetime.
"""

from collections import deque
from typing import Annotated

import msgspec
from msgspec import Meta

SLOTS = 60
"""Parts of a window that are counted together."""


class RetrySettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How much a gateway's worker may add to its traffic by sending again."""

    ratio: Annotated[float, Meta(ge=0, le=1, description="Retries per request, over any window")] = 0.1
    floor_per_s: Annotated[
        float, Meta(ge=0, le=1000, description="Retries a second that little traffic may make whatever the ratio")
    ] = 0.2
    window: Annotated[float, Meta(ge=1, le=3600, description="Seconds over which both are counted")] = 60.0
    attempts: Annotated[int, Meta(ge=1, le=10, description="Engines one request may be sent to in all")] = 3

    @property
    def floor(self) -> int:
        """Whole retries in any window that need no requests to earn them."""
        return int(self.floor_per_s * self.window + 1e-9)


class _Slot(msgspec.Struct):
    number: int
    requests: int = 0
    retries: int = 0


class RetryBudget:
    """Counts requests and retries over a sliding window. One for all engines: a storm does not care whom it hits.

    Retries are remembered one slot longer than the requests that earned them, so no request pays twice.
    """

    def __init__(self, settings: RetrySettings) -> None:
        self._settings = settings
        self._floor = settings.floor
        self._width = settings.window / SLOTS
        self._slots: deque[_Slot] = deque()
        self._requests = 0
        """In the last SLOTS slots."""
        self._retries = 0
        """In the last SLOTS + 1 slots: a whole window wherever in a slot `now` falls."""

    def requested(self, now: float, count: int = 1) -> None:
        """Clients' requests have come: each earns a share of a retry."""
        self._slot(now).requests += count
        self._requests += count

    def may_retry(self, now: float) -> bool:
        """Whether one more attempt may be sent now. A yes is counted: ask only when it will be sent."""
        if self.left(now) < 1:
            return False
        self._slot(now).retries += 1
        self._retries += 1
        return True

    def left(self, now: float) -> int:
        """Retries that could be sent now."""
        self._slot(now)
        return max(0, int(self.allowed - self._retries + 1e-9))

    @property
    def allowed(self) -> float:
        """Retries the window may hold, as of the last call that brought a `now`."""
        return max(float(self._floor), self._settings.ratio * self._requests)

    @property
    def amplification(self) -> float:
        """Attempts per request over the window, as of the last call that brought a `now`; 1 without traffic."""
        return 1.0 + self._retries / self._requests if self._requests else 1.0 + self._retries

    def explain(self, now: float) -> dict[str, object]:
        """For people: what the window holds and what is left."""
        left = self.left(now)
        return {
            "window_s": self._settings.window,
            "requests": self._requests,
            "retries": self._retries,
            "left": left,
            "amplification": round(self.amplification, 4),
        }

    def _slot(self, now: float) -> _Slot:
        """The slot of `now`, after what is older than a window is forgotten. A clock that steps back stays put."""
        number = int(now // self._width)
        slots = self._slots
        if slots and slots[-1].number >= number:
            return slots[-1]
        while slots and slots[0].number < number - SLOTS:
            gone = slots.popleft()
            self._retries -= gone.retries
            self._requests -= gone.requests
        if slots and slots[0].number == number - SLOTS:
            self._requests -= slots[0].requests
            slots[0].requests = 0
        slot = _Slot(number)
        slots.append(slot)
        return slot
