"""How much of its fair load each engine may get: breaker, outlier ejection and slow start joined.

    weight = 0                           breaker open, or ejected, or half-open with all probes on their way
             probe_weight                half-open with room for a probe
             slow start's weight(age)    otherwise; age since it appeared or was last out

When a group would be left with nothing, its engines come back at `probe_weight`: these rules choose between engines,
and there is nothing left to choose.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Annotated

import msgspec
from msgspec import Meta

from penstock.policy.resilience.breaker import Breaker, BreakerSettings, State
from penstock.policy.resilience.outlier import Outliers, OutlierSettings
from penstock.policy.resilience.slow_start import SlowStartSettings, weight


class HealthSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """When engines get less than their fair load."""

    breaker: Annotated[BreakerSettings, Meta(description="Engines that fail are taken out")] = BreakerSettings()
    outlier: Annotated[OutlierSettings, Meta(description="Engines worse than the others")] = OutlierSettings()
    slow_start: Annotated[SlowStartSettings, Meta(description="An engine's first seconds")] = SlowStartSettings()
    probe_weight: Annotated[float, Meta(gt=0, le=1, description="Share of its fair load while it is tried")] = 0.1
    last_resort: Annotated[
        bool, Meta(description="Use engines that are out when their group has no other; otherwise answer 503 at once")
    ] = True


class _Engine(msgspec.Struct):
    group: str
    breaker: Breaker
    well_since: float
    spare: bool = False
    """It can be done without: no last resort."""
    out: bool = False
    """Breaker not closed, or ejected, at the last look."""


class Health:
    """One per worker. Engines of a group can stand in for each other: those of one pool that serve the same models."""

    def __init__(self, settings: HealthSettings) -> None:
        self._settings = settings
        self._engines: dict[str, _Engine] = {}
        self._outliers = Outliers(settings.outlier)
        self._resort: frozenset[str] = frozenset()
        self.troubled: set[str] = set()
        """Engines whose breaker was not closed when last heard of. While there are none, `admits` and `began` need not
        be asked."""
        self.version = 0
        """Grows when an engine goes out or comes back: weights read before are stale. Time alone changes them too."""

    def appeared(self, engine: str, now: float, group: str = "default", *, spare: bool = False) -> None:
        """An engine is ready: new, or back after it was gone. One that is known in this group stays as it is. A `spare`
        one is never the last resort: its group can be done without."""
        known = self._engines.get(engine)
        if known is not None and known.group == group:
            return
        self._engines[engine] = _Engine(group, Breaker(self._settings.breaker), now, spare)
        self.troubled.discard(engine)
        self._outliers.appeared(engine, group)
        self.version += 1

    def left(self, engine: str) -> None:
        """An engine is gone: what is known of it goes too."""
        self.troubled.discard(engine)
        if self._engines.pop(engine, None) is not None:
            self._outliers.left(engine)
            self.version += 1

    def admits(self, engine: str, now: float) -> bool:
        """Whether an attempt may begin on a chosen engine: its weight may have been read before its last probe began.

        An engine that never appeared is not judged.
        """
        entry = self._engines.get(engine)
        return entry is None or engine in self._resort or entry.breaker.admits(now)

    def began(self, engine: str, now: float) -> None:
        """An attempt is sent. Every one needs an `observed`, with `ok` None when it tells nothing."""
        entry = self._engines.get(engine)
        if entry is not None:
            entry.breaker.began(now)
            if entry.breaker.state(now) is State.HALF_OPEN:
                self.version += 1

    def observed(
        self,
        engine: str,
        now: float,
        ok: bool | None,
        code: str = "",
        ttft_s: float | None = None,
        since: float | None = None,
    ) -> None:
        """An attempt has ended, once per attempt. `ok` is None when that is not the engine's doing (the client left, a
        4xx of the request's own). `since` is when it began: results older than a breaker's state do not move it."""
        entry = self._engines.get(engine)
        if entry is None:
            return
        before = entry.breaker.state(now)
        entry.breaker.ended(now, ok, code, since)
        if ok is not None and before is State.CLOSED:
            self._outliers.observed(engine, now, ok, ttft_s)
        after = entry.breaker.state(now)
        if after is State.CLOSED:
            self.troubled.discard(engine)
        else:
            self.troubled.add(engine)
        if after is not before:
            if before is State.HALF_OPEN:
                entry.well_since = now
            self.version += 1

    def answered(self, engine: str, times: Sequence[tuple[float, float | None]]) -> None:
        """Many attempts have ended well: (when, TTFT in seconds), in order. As `observed` for each, at a fraction of
        the cost; for an engine that is not troubled."""
        entry = self._engines.get(engine)
        if entry is not None:
            entry.breaker.succeeded([now for now, _ in times])
            self._outliers.succeeded(engine, times)

    def weights(self, names: Iterable[str], now: float) -> dict[str, float]:
        """Engine -> share of its fair load, 0 to 1. One that never appeared gets 1: nothing is known against it."""
        down = {name for name, entry in self._engines.items() if entry.breaker.state(now) is not State.CLOSED}
        if self._outliers.sweep(now, down):
            self.version += 1
        weights = {name: self._weight(name, now) for name in names}
        if self._settings.last_resort:
            self._resort = self._left_with_nothing(weights)
            weights.update(dict.fromkeys(self._resort, self._settings.probe_weight))
        return weights

    def wait_s(self, names: Iterable[str], now: float) -> float | None:
        """Seconds until the first of `names` may be tried again; None when one may be now, or none is known."""
        waits = []
        for name in names:
            entry = self._engines.get(name)
            if entry is None:
                return None
            until = self._until(name, entry, now)
            if until is None:
                return None
            waits.append(until - now)
        return max(0.0, min(waits)) if waits else None

    def explain(self, now: float) -> dict[str, dict[str, object]]:
        """Engine -> weight, breaker's state, and why and until when it is out."""
        weights = self.weights(list(self._engines), now)
        found: dict[str, dict[str, object]] = {}
        for name, entry in self._engines.items():
            breaker = entry.breaker
            until = self._until(name, entry, now)
            found[name] = {
                "weight": round(weights[name], 4),
                "group": entry.group,
                "breaker": str(breaker.state(now)),
                "ejected": self._outliers.ejected(name),
                "opened": breaker.opened,
                "probing": breaker.probing,
                "back_in_s": None if until is None else round(max(0.0, until - now), 3),
                "well_for_s": round(max(0.0, now - entry.well_since), 3),
                "last_resort": name in self._resort,
                "reasons": self._reasons(name, entry, now),
            }
        return found

    def _weight(self, name: str, now: float) -> float:
        entry = self._engines.get(name)
        if entry is None:
            return 1.0
        state = entry.breaker.state(now)
        ejected = self._outliers.ejected(name)
        if state is not State.CLOSED or ejected:
            entry.out = True
            probe = state is State.HALF_OPEN and not ejected and entry.breaker.admits(now)
            return self._settings.probe_weight if probe else 0.0
        if entry.out:
            entry.out = False
            entry.well_since = now
        return weight(self._settings.slow_start, now - entry.well_since)

    def _left_with_nothing(self, weights: Mapping[str, float]) -> frozenset[str]:
        """Those of `weights` whose group has no weight at all in it, and cannot be done without."""
        entries = self._engines
        alive = {entries[name].group for name, share in weights.items() if share > 0 and name in entries}
        return frozenset(
            name for name in weights if name in entries and entries[name].group not in alive and not entries[name].spare
        )

    def _until(self, name: str, entry: _Engine, now: float) -> float | None:
        until = self._outliers.until(name)
        if entry.breaker.state(now) is State.OPEN:
            return entry.breaker.until if until is None else max(until, entry.breaker.until)
        return until

    def _reasons(self, name: str, entry: _Engine, now: float) -> list[str]:
        reasons = []
        if entry.breaker.state(now) is not State.CLOSED:
            reasons.append(entry.breaker.reason)
        if self._outliers.ejected(name):
            reasons.append(self._outliers.reason(name))
        return reasons
