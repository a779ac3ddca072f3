"""How loaded one engine is believed to be: its own word while that is fresh, and what this router sent it."""

from penstock.policy.route.claims import Claims
from penstock.policy.route.facts import EngineFacts
from penstock.policy.route.settings import RouteSettings

NEVER = float("inf")
_RAMP = 0.1
"""KV utilisation below `kv_limit` over which the penalty grows."""
_STEP_S = 0.1
"""A reading that ages is settled anew this often."""


class Standing:
    """One engine's facts, joined with this router's claims. `settle` says what of its reading still counts."""

    __slots__ = (
        "_others_read",
        "_preemptions",
        "_settings",
        "claims",
        "extra",
        "facts",
        "kv",
        "others",
        "preempting",
        "queue",
        "tokens_per_request",
        "weight",
    )

    def __init__(self, facts: EngineFacts, claims: Claims, settings: RouteSettings) -> None:
        self.facts = facts
        self.claims = claims
        self.preempting = False
        """It put requests back for want of KV blocks between its last two readings."""
        self.others = 0.0
        """Requests in the engine that are not this router's."""
        self.queue = 0.0
        """Requests believed waiting in the engine."""
        self.kv: float | None = None
        """KV utilisation, None when unknown or stale."""
        self._settings = settings
        self._preemptions: float | None = None
        self._others_read = 0.0
        self.extra = 0.0
        """Requests that it counts for besides this router's own: others', and KV pressure."""
        self.weight = 1.0
        """Above 0: an engine of half the weight counts for twice as loaded."""
        self.tokens_per_request = settings.tokens_per_request
        self._read()

    def renew(self, facts: EngineFacts) -> None:
        """Takes a newer view of the same engine; `settle` is due."""
        known = self.facts.load
        self.facts = facts
        if facts.load is None or known is None or facts.load.at != known.at:
            self._read()

    def _read(self) -> None:
        load = self.facts.load
        if load is None:
            self._others_read, self.preempting, self._preemptions = 0.0, False, None
            return
        reported = (_sane(load.running) or 0.0) + (_sane(load.waiting) or 0.0)
        self._others_read = max(0.0, reported - self.claims.at(load.at))
        before, self._preemptions = self._preemptions, load.preemptions
        self.preempting = before is not None and load.preemptions is not None and load.preemptions > before

    def settle(self, now: float) -> float:
        """Weighs the reading by its age; returns when to do so again."""
        weight = self.facts.weight
        self.weight = weight if 0.0 < weight < 1.0 else 1.0
        load, fresh = self.facts.load, self.freshness(now)
        if load is None or not fresh:
            self.others = self.queue = self.extra = 0.0
            self.kv = None
            self.preempting = False
            return NEVER
        kv = _sane(load.kv_utilisation)
        self.kv = min(1.0, kv) if kv is not None else None
        self.others = fresh * self._others_read
        self.queue = fresh * (_sane(load.waiting) or 0.0)
        self.extra = self.others + fresh * self._penalty()
        return max(load.at + self._settings.fresh_s, now) + _STEP_S

    def freshness(self, now: float) -> float:
        """1 for a fresh reading, falling in a line to 0 for a stale one or none."""
        load = self.facts.load
        if load is None:
            return 0.0
        settings = self._settings
        age = now - load.at
        if age <= settings.fresh_s:
            return 1.0
        if age >= settings.stale_s:
            return 0.0
        return (settings.stale_s - age) / (settings.stale_s - settings.fresh_s)

    def _penalty(self) -> float:
        kv, limit = self.kv, self._settings.kv_limit
        if kv is None or kv <= limit - _RAMP:
            return 0.0
        return self._settings.kv_penalty * min(1.0, (kv - limit + _RAMP) / (1.0 - limit + _RAMP))

    def requests(self) -> float:
        """Requests believed in the engine: this router's, and others' as far as its reading is fresh."""
        return self.claims.requests + self.others

    def pressed(self) -> bool:
        """Its KV cache is near full, or it preempts."""
        return self.preempting or (self.kv is not None and self.kv >= self._settings.kv_limit)

    def full(self) -> bool:
        """It has as many requests as it may have."""
        bound = self.facts.max_in_flight
        return bound > 0 and self.claims.requests + self.others >= bound

    def capacity(self) -> float:
        """Tokens its KV cache holds, as configured, as read, or as assumed."""
        load = self.facts.load
        read = load.kv_capacity_tokens if load is not None else None
        return self.facts.kv_capacity_tokens or read or self._settings.unknown_kv_tokens


def _sane(value: float | None) -> float | None:
    return value if value is not None and 0.0 <= value < NEVER else None
