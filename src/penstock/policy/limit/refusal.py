"""Why a request is over a limit, and what its client is told."""

from enum import StrEnum
from math import ceil, inf

import msgspec

from penstock.core.errors import (
    BudgetExceeded,
    ConcurrencyExceeded,
    LimitExceeded,
    LimitsUnavailable,
    RequestError,
)
from penstock.core.limit import Measure, Rule
from penstock.policy.resilience.advice import HOPELESS_S


class Why(StrEnum):
    """What stood in the way."""

    FULL = "full"
    """There is no room now."""
    NEVER = "never"
    """The request alone is more than the limit."""
    AWAY = "away"
    """The store cannot say, and the rule fails closed."""


class Refused(msgspec.Struct, frozen=True):
    """The rule that refuses a request. Text is made when somebody asks."""

    rule: Rule
    why: Why
    amount: int
    """What the request needs."""
    used: int
    """What all have in use, as the store last said."""
    refill_s: float
    """Seconds until it fits at the latest; infinity: never; below zero: not known."""

    @property
    def budget(self) -> bool:
        """Whether it is of the kind that nobody waits for: money, or a calendar span."""
        return self.rule.measure is Measure.SPEND or self.rule.span is not None

    @property
    def wait_s(self) -> float | None:
        """What `retry-after` says; None: coming again is useless."""
        if self.why is Why.NEVER:
            return None
        return max(1.0, self.refill_s)

    def __str__(self) -> str:
        rule = self.rule
        over = f"{rule.span.value}" if rule.span is not None else f"{rule.window_s:g} s" if rule.window_s else ""
        limit = f"Limit {rule.name!r}: {amount(rule.measure, rule.limit)}{f' per {over}' if over else ' at once'}"
        if self.why is Why.AWAY:
            return f"{limit} cannot be checked, since the store of limits does not answer."
        needs = f"this request needs {amount(rule.measure, self.amount)}"
        if self.why is Why.NEVER:
            return f"{limit}; {needs}, which never fits."
        when = f" It fits in {duration(self.refill_s)} at the latest." if 0 <= self.refill_s < inf else ""
        return f"{limit}, {amount(rule.measure, self.used)} in use; {needs}.{when}"

    def error(self) -> RequestError:
        """The error that ends the request."""
        if self.why is Why.AWAY:
            return LimitsUnavailable(str(self), retry_after_s=self.wait_s)
        kind = BudgetExceeded if self.budget else ConcurrencyExceeded if self.rule.measure.held else LimitExceeded
        wait = self.wait_s
        error = kind(str(self), retry_after_s=wait)
        if wait is None or wait > HOPELESS_S:
            error.retry = False
        return error


class Standing(msgspec.Struct, frozen=True):
    """How far a limit is used, for headers and people."""

    rule: Rule
    used: int
    reset_s: float
    """Until all that is used now counts no more."""

    @property
    def remaining(self) -> int:
        return max(0, self.rule.limit - self.used)


def headers(standings: tuple[Standing, ...]) -> list[tuple[str, str]]:
    """`x-ratelimit-*` as OpenAI sends them: the tightest rule on requests, and the tightest on tokens.

    Only rules with a sliding window that are enforced; budgets and what is held have no such headers.
    """
    found: list[tuple[str, str]] = []
    for noun, measures in _NOUNS:
        tightest: Standing | None = None
        for standing in standings:
            rule = standing.rule
            fits = rule.measure in measures and rule.window_s and not rule.shadow
            if fits and (tightest is None or _left(standing) < _left(tightest)):
                tightest = standing
        if tightest is not None:
            found += (
                (f"x-ratelimit-limit-{noun}", str(tightest.rule.limit)),
                (f"x-ratelimit-remaining-{noun}", str(tightest.remaining)),
                (f"x-ratelimit-reset-{noun}", duration(tightest.reset_s if tightest.used else 0.0)),
            )
    return found


_NOUNS = (
    ("requests", (Measure.REQUESTS,)),
    ("tokens", (Measure.TOTAL_TOKENS, Measure.INPUT_TOKENS, Measure.OUTPUT_TOKENS)),
)


def _left(standing: Standing) -> tuple[float, int]:
    """Orders by what is left, as a part and then as a number."""
    return standing.remaining / max(1, standing.rule.limit), standing.remaining


def duration(seconds: float) -> str:
    """As OpenAI writes it (Go's form): `12ms`, `1s`, `6m0s`, `24h0m0s`. Rounded up, to seconds from one second on."""
    if seconds < 1.0:
        return f"{max(0, ceil(seconds * 1000))}ms" if seconds > 0 else "0s"
    minutes, rest = divmod(ceil(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}h{minutes}m{rest}s" if hours else f"{minutes}m{rest}s" if minutes else f"{rest}s"


def amount(measure: Measure, value: int) -> str:
    """An amount with its noun."""
    if measure is Measure.SPEND:
        return f"{value / 1e9:.6f}".rstrip("0").rstrip(".") + " of spend"
    noun = {
        Measure.REQUESTS: "requests",
        Measure.CONCURRENT_REQUESTS: "requests",
        Measure.INPUT_TOKENS: "input tokens",
        Measure.OUTPUT_TOKENS: "output tokens",
        Measure.TOTAL_TOKENS: "tokens",
        Measure.IN_FLIGHT_TOKENS: "tokens",
    }[measure]
    return f"{value:,} {noun[:-1] if value == 1 else noun}"
