"""How many requests to have running at a gateway that says when it is full. Pure.

Additive increase, multiplicative decrease (as in TCP, RFC 5681): a refusal halves the window and pauses the pull for as
long as the gateway asks; each window of answers adds one.
"""

SHORTEST_S = 0.25
"""Pause after a refusal without `retry-after`; doubles with each in a row."""
LONGEST_S = 30.0


class Pace:
    """`most`: the largest window."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._window = float(most)
        self._until = 0.0
        self._refusals = 0
        self.running = 0

    @property
    def window(self) -> int:
        return max(1, int(self._window)) if self._most else 0

    def room(self, now: float) -> int:
        """Requests that may be started now."""
        return 0 if now < self._until else max(0, self.window - self.running)

    def pause_s(self, now: float) -> float:
        """Until something may be started, if something ends."""
        return max(0.0, self._until - now)

    def started(self) -> None:
        self.running += 1

    def answered(self) -> None:
        """A request ended with an answer."""
        self.running -= 1
        self._refusals = 0
        self._window = min(float(self._most), self._window + 1.0 / max(1.0, self._window))

    def ended(self) -> None:
        """A request ended in a way that says nothing of the gateway's room."""
        self.running -= 1

    def refused(self, now: float, retry_after_s: float | None) -> float:
        """The gateway took a request for too many. Returns how long it should wait."""
        self.running -= 1
        first = now >= self._until
        # Requests that were on their way together are refused together: they are one sign, and not many.
        if first:
            self._refusals += 1
            self._window = max(1.0, min(self._window, self.running + 1) / 2)
        wait = SHORTEST_S * 2 ** min(10, self._refusals - 1) if retry_after_s is None else retry_after_s
        wait = min(LONGEST_S, max(0.0, wait))
        self._until = max(self._until, now + wait)
        return wait
