"""How fast a pool works off its queue, learned from completions while somebody waits.

An idle pool's completions show the demand, not what the pool can do; so only busy time and what ended in it count. Both
decay with the busy time that has passed:

    requests/s = sum of exp(-age / memory) over completions  /  sum of the same weights over busy time
"""

from math import exp

LEAST_COMPLETIONS = 3.0
"""Weight of completions below which nothing is said."""


class Speed:
    """Exponentially weighted rates of requests and tokens over busy time."""

    def __init__(self, memory_s: float) -> None:
        self._memory_s = memory_s
        self._busy_s = 0.0
        self._requests = 0.0
        self._tokens = 0.0

    def busy(self, seconds: float) -> None:
        """The queue was not empty for so long."""
        if seconds <= 0:
            return
        kept = exp(-seconds / self._memory_s)
        self._busy_s = self._busy_s * kept + self._memory_s * (1.0 - kept)
        self._requests *= kept
        self._tokens *= kept

    def completed(self, tokens: int) -> None:
        """A request of so many tokens ended while others waited."""
        self._requests += 1.0
        self._tokens += tokens

    def wait_s(self, requests: int, tokens: int) -> float | None:
        """Seconds until so many requests with so many tokens are worked off and one more place is free.

        By requests or by tokens, whichever is slower. None while too little was seen.
        """
        if self._requests < LEAST_COMPLETIONS or self._busy_s <= 0:
            return None
        by_requests = (requests + 1) * self._busy_s / self._requests
        by_tokens = tokens * self._busy_s / self._tokens if self._tokens > 0 else 0.0
        return max(by_requests, by_tokens)

    @property
    def requests_per_s(self) -> float | None:
        """None while too little was seen."""
        known = self._requests >= LEAST_COMPLETIONS and self._busy_s > 0
        return self._requests / self._busy_s if known else None

    @property
    def tokens_per_s(self) -> float | None:
        """None while too little was seen."""
        known = self._requests >= LEAST_COMPLETIONS and self._busy_s > 0
        return self._tokens / self._busy_s if known else None
