"""How an attempt went, as far as it says something of the engine; and how a request ended."""

from typing import NamedTuple

from penstock.core.errors import RequestError
from penstock.core.record import Outcome


class Verdict(NamedTuple):
    """Times in seconds."""

    ok: bool | None
    """None when that tells nothing of the engine: the client left, or asked for what cannot be."""
    code: str = ""
    ttft_s: float | None = None
    tpot_s: float | None = None
    prompt_tokens: int = 0
    """As the engine reported; 0 when it did not."""
    cached_tokens: int = 0


def outcome_of(failure: RequestError | None, status: int) -> Outcome:
    """The outcome of a request from what ended it. An engine's own 4xx is an answer, hence a rejection by it."""
    if failure is not None:
        return Outcome(failure.outcome)
    if status >= 500:
        return Outcome.UPSTREAM_FAILED
    return Outcome.REJECTED if status >= 400 else Outcome.SUCCESS
