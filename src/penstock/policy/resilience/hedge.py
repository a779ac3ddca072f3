"""When a second copy of a slow request may be sent to another engine (Dean and Barroso, "The Tail at Scale", 2013).

    delay = max(floor, quantile of the first bytes of that kind)

With q = 0.95 about one request in twenty outlives its delay. Copies draw on the budget of retries, and only while part
of it is left for those. Which copy wins (the first to send a byte) and cancelling the other is the caller's.
"""

from typing import Annotated

import msgspec
from msgspec import Meta

from penstock.policy.resilience.retry import RetryBudget
from penstock.policy.resilience.timeouts import Kind, Timeouts


class HedgeSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Second copies of slow requests."""

    enabled: Annotated[bool, Meta(description="Send second copies; each costs an engine a prompt")] = False
    quantile: Annotated[float, Meta(gt=0, lt=1, description="Share of answers that begin before a copy is sent")] = 0.95
    floor: Annotated[float, Meta(gt=0, le=3600, description="Seconds; no copy is sent before")] = 0.1
    reserve: Annotated[float, Meta(ge=0, le=1, description="Share of the retry budget that copies leave alone")] = 0.5


class Hedger:
    """Says when a copy may be sent, from what `learned` knows and `budget` allows."""

    def __init__(self, settings: HedgeSettings, budget: RetryBudget, learned: Timeouts) -> None:
        self._settings = settings
        self.enabled = settings.enabled
        self._budget = budget
        self._learned = learned

    def delay_s(self, kind: Kind, *, repeatable: bool) -> float | None:
        """Seconds after sending when to ask `may_hedge`; None: never for this request."""
        if not self._settings.enabled or not repeatable:
            return None
        quantile = self._learned.first_byte_quantile(kind, self._settings.quantile)
        return None if quantile is None else max(self._settings.floor, quantile)

    def may_hedge(self, now: float, *, repeatable: bool, first_byte: bool, copies: int) -> bool:
        """Whether a copy may be sent now. A yes is counted as a retry: ask only when an engine for it is chosen.

        `first_byte`: any copy has answered with one. `copies`: attempts of this request that are running.
        """
        settings = self._settings
        if not settings.enabled or not repeatable or first_byte or copies != 1:
            return False
        left = self._budget.left(now)
        if left - 1 < settings.reserve * self._budget.allowed:
            return False
        return self._budget.may_retry(now)
