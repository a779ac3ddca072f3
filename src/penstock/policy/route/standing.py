"""How loaded one engine is believed to be: its own word while that is fresh, and what this router sent it."""

from penstock.policy.route.claims import Claims
from penstock.policy.route.facts import EngineFacts
from penstock.policy.route.settings import RouteSettings

_RAMP = 0.1
"""KV utilisation below `kv_limit` over which the penalty grows."""
NEVER = float("inf")
_STEP_S = 0.1
"""A reading that ages is weighed anew this often."""


class Standing:
    """One engine's facts, joined with this router's claims."""

    __slots__ = ("_kv", "_others", "_preemptions", "_settings", "_waiting", "claims", "facts", "preempting")

    def __init__(self, facts: EngineFacts, claims: Claims, settings: RouteSettings) -> None:
        self.facts = facts
        self.claims = claims
        self.preempting = False
        self._settings = settings
        self._others = self._waiting = 0.0
        self._kv: float | None = None
        self._preemptions: float | None = None
        self._read()

    def renew(self, facts: EngineFacts) -> None:
        """Takes a newer view of the same engine."""
        known = self.facts.load
        self.facts = facts
        if facts.load is None or known is None or facts.load.at != known.at:
            self._read()

    def _read(self) -> None:
        load = self.facts.load
        if load is None:
            self._others, self._waiting, self._kv = 0.0, 0.0, None
            self.preempting, self._preemptions = False, None
            return
        self._waiting = _sane(load.waiting) or 0.0
        reported = (_sane(load.running) or 0.0) + self._waiting
        self._others = max(0.0, reported - self.claims.at(load.at))
        kv = _sane(load.kv_utilisation)
        self._kv = min(1.0, kv) if kv is not None else None
        before, self._preemptions = self._preemptions, load.preemptions
        self.preempting = before is not None and load.preemptions is not None and load.preemptions > before

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

    def ages_at(self, now: float) -> float:
        """When the freshness has changed enough to weigh the engine anew."""
        load = self.facts.load
        if load is None or now - load.at >= self._settings.stale_s:
            return NEVER
        return max(load.at + self._settings.fresh_s, now) + _STEP_S

    def requests(self, now: float) -> float:
        """Requests believed in the engine: this router's, and others' as far as its reading is fresh."""
        return self.claims.requests + self.freshness(now) * self._others

    def queue(self, now: float) -> float:
        """Requests believed waiting in the engine."""
        return self.freshness(now) * self._waiting

    def kv(self, now: float) -> float | None:
        """KV utilisation, None when unknown or stale."""
        return self._kv if self.freshness(now) > 0 else None

    def load(self, now: float) -> float:
        """Effective load in requests: in-flight tokens, KV pressure and a lowered weight count as more of it."""
        settings = self._settings
        claims = self.claims
        load = claims.requests + claims.tokens / settings.tokens_per_request
        fresh = self.freshness(now)
        if fresh:
            load += fresh * (self._others + self._penalty())
        weight = self.facts.weight
        return load / weight if 0.0 < weight < 1.0 else load

    def _penalty(self) -> float:
        kv, limit = self._kv, self._settings.kv_limit
        if kv is None or kv <= limit - _RAMP:
            return 0.0
        return self._settings.kv_penalty * min(1.0, (kv - limit + _RAMP) / (1.0 - limit + _RAMP))

    def pressed(self, now: float) -> bool:
        """Its KV cache is near full, or it put requests back between its last two readings."""
        if not self.freshness(now):
            return False
        return self.preempting or (self._kv is not None and self._kv >= self._settings.kv_limit)

    def full(self, now: float) -> bool:
        """It has as many requests as it may have."""
        bound = self.facts.max_in_flight
        return bound > 0 and self.requests(now) >= bound

    def capacity(self) -> float:
        """Tokens its KV cache holds, as configured, as read, or as assumed."""
        load = self.facts.load
        read = load.kv_capacity_tokens if load is not None else None
        return self.facts.kv_capacity_tokens or read or self._settings.unknown_kv_tokens


def _sane(value: float | None) -> float | None:
    return value if value is not None and 0.0 <= value < NEVER else None
