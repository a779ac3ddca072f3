"""What a client is told after an error: whether to come again, and when.

The OpenAI SDKs send again after 408, 409, 429 and 5xx, twice by default, unless `x-should-retry` says otherwise. They
wait as `retry-after` says, current ones up to two minutes, older ones up to one; otherwise half a second, doubling. A
gateway that has already tried every engine must say so, or three layers multiply.
"""

from typing import Annotated

import msgspec
from msgspec import Meta

LONGEST_S = 60.0
"""The longest wait that every SDK obeys. Longer ones are obeyed by none of the old and given up by the new."""
HOPELESS_S = 120.0
"""Beyond it current SDKs do not come again; so nobody is asked to."""


class AdviceSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What clients are told to wait."""

    wait: Annotated[float, Meta(ge=1, le=LONGEST_S, description="Seconds, where nothing better is known")] = 2.0
    spread: Annotated[
        float, Meta(ge=0, le=1, description="Part of a wait added by chance, so that not all come back at once")
    ] = 0.25


class Advice(msgspec.Struct, frozen=True):
    """`x-should-retry` and `retry-after`; None leaves the header out."""

    retry: bool | None
    retry_after_s: float | None


AGAIN = frozenset(
    {
        "engine_unavailable",
        "overloaded",
        "queue_full",
        "displaced",
        "bulkhead_full",
        "drain_timeout",
        "upstream_refused",
        "connect_timeout",
        "upstream_reset",
        "upstream_busy",
        "upstream_malformed",
        "internal_error",
    }
)
"""Codes after which the same request may well succeed a little later."""
USELESS = frozenset(
    {
        "deadline_unmeetable",
        "queue_timeout",
        "first_byte_timeout",
        "engine_slow",
        "stall_timeout",
        "total_timeout",
    }
)
"""Codes of time: the engine may still be at work on it, and the same request would take as long again."""
ONCE = frozenset({"upstream_reset", "upstream_malformed", "drain_timeout", "internal_error"})
"""Codes of AGAIN after which an engine may have done the work already."""


def advise(
    settings: AdviceSettings,
    code: str,
    *,
    chance: float,
    wait_s: float | None = None,
    repeatable: bool = True,
    spent: bool = False,
) -> Advice:
    """What goes with an error of `code`. Codes of neither table are the client's own mistakes: the SDK's rule holds.

    `wait_s` is when it may succeed, if known (an open breaker, an estimate of the queue); `chance` is in [0, 1).
    `repeatable`: the request only computes. `spent`: the budget of retries is used up, so more of them only add load.
    """
    if code not in AGAIN and code not in USELESS:
        return Advice(None, None)
    wait = settings.wait if wait_s is None else max(1.0, wait_s)
    hopeless = wait > HOPELESS_S
    if code in USELESS or hopeless or spent or (not repeatable and code in ONCE):
        return Advice(False, None if wait_s is None else wait)
    return Advice(True, min(LONGEST_S, wait * (1.0 + settings.spread * chance)))
