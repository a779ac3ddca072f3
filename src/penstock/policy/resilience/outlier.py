"""Which engines are far worse than those that could stand in for them.

A breaker sees engines that fail; this sees those that answer, but worse than the fleet: a share of errors, or first
tokens that take several times as long. Envoy's outlier detection ejects below `mean - 1.9 * stdev` of the success
rates. Among n hosts no value lies more than sqrt(n - 1) deviations from the mean, so that rule is blind below five
hosts, and one bad host widens the deviation it is judged by. Here an engine is compared with the *others* of its group,
by median and median absolute deviation (MAD; times 1.4826 it estimates a standard deviation):

    errors:  rate - median(others)  >  max(error_gap, deviations * 1.4826 * MAD(others))
    ttft:    ttft - median(others)  >  max(ttft_gap, (ttft_factor - 1) * median(others), deviations * 1.4826 * MAD)

where `ttft` is the engine's median. Never below a floor of healthy engines.
"""

from collections import deque
from collections.abc import Collection, Sequence
from math import ceil
from statistics import median
from typing import Annotated

import msgspec
from msgspec import Meta

TO_DEVIATION = 1.4826
"""MAD -> standard deviation of a normal distribution."""


class OutlierSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """When an engine is ejected for being worse than its peers, and for how long."""

    enabled: Annotated[bool, Meta(description="Whether engines are ejected at all")] = True
    interval: Annotated[float, Meta(gt=0, le=3600, description="Seconds between two comparisons")] = 5.0
    window: Annotated[float, Meta(gt=0, le=3600, description="Seconds of results that are compared")] = 60.0
    samples: Annotated[int, Meta(ge=5, le=10_000, description="Results kept per engine, the latest")] = 100
    minimum: Annotated[int, Meta(ge=1, le=10_000, description="Results an engine needs to be compared")] = 20
    peers: Annotated[int, Meta(ge=1, le=100, description="Other engines with enough results that it takes")] = 2
    deviations: Annotated[float, Meta(gt=0, le=100, description="Robust deviations from the others' median")] = 3.5
    error_gap: Annotated[float, Meta(gt=0, le=1, description="Least difference in the share of errors")] = 0.2
    ttft_factor: Annotated[float, Meta(gt=1, le=1000, description="Least multiple of the others' median TTFT")] = 4.0
    ttft_gap: Annotated[float, Meta(gt=0, le=3600, description="Least difference in TTFT, in seconds")] = 1.0
    min_healthy: Annotated[
        float, Meta(ge=0, le=1, description="Share of a group that ejection leaves in, breakers' open engines counted")
    ] = 0.5
    eject: Annotated[float, Meta(gt=0, le=86400, description="Seconds out, times the number of ejections in a row")] = (
        30.0
    )
    eject_cap: Annotated[float, Meta(gt=0, le=86400, description="Seconds out at most")] = 300.0


class _Track(msgspec.Struct):
    group: str
    results: deque[tuple[float, bool, float | None]]
    """When, whether it succeeded, and its TTFT in seconds."""
    until: float | None = None
    """Ejected until then; None: in."""
    lasted: float = 0.0
    """Seconds of its last ejection."""
    ended: float = 0.0
    """When its last ejection ended."""
    times: int = 0
    """Ejections in a row."""
    reason: str = ""
    excess: float = 0.0
    """How far beyond the limit it was, as a multiple of the limit."""


class _Standing(msgspec.Struct, frozen=True):
    """One engine in a comparison."""

    name: str
    rate: float
    ttft: float | None


class Outliers:
    """Keeps every engine's last results and says which are out."""

    def __init__(self, settings: OutlierSettings) -> None:
        self._settings = settings
        self._tracks: dict[str, _Track] = {}
        self._next = float("-inf")

    def appeared(self, engine: str, group: str) -> None:
        """An engine that is compared with those of `group` from now on."""
        self._tracks[engine] = _Track(group, deque(maxlen=self._settings.samples))

    def left(self, engine: str) -> None:
        """Forgets an engine."""
        self._tracks.pop(engine, None)

    def observed(self, engine: str, now: float, ok: bool, ttft_s: float | None) -> None:
        """One result. Those of an ejected engine are stragglers and do not count."""
        track = self._tracks.get(engine)
        if track is not None and track.until is None:
            track.results.append((now, ok, ttft_s))

    def ejected(self, engine: str) -> bool:
        """Whether it is out, as of the last sweep."""
        track = self._tracks.get(engine)
        return track is not None and track.until is not None

    def reason(self, engine: str) -> str:
        """Why it was last ejected."""
        track = self._tracks.get(engine)
        return track.reason if track is not None else ""

    def until(self, engine: str) -> float | None:
        """When it comes back; None when it is in."""
        track = self._tracks.get(engine)
        return track.until if track is not None else None

    def sweep(self, now: float, down: Collection[str]) -> bool:
        """Takes back those whose time is over, keeps the floor, and compares when it is time. Whether anything changed.

        `down` are engines that are out for other reasons: they count against the floor.
        """
        changed = False
        for track in self._tracks.values():
            if track.until is not None and now >= track.until:
                self._return(track, track.until)
                changed = True
        due = now >= self._next
        if due:
            self._next = now + self._settings.interval
        for members in self._groups().values():
            changed |= self._relieve(members, now, down)
            if due and self._settings.enabled:
                changed |= self._judge(members, now, down)
        return changed

    def _groups(self) -> dict[str, list[str]]:
        groups: dict[str, list[str]] = {}
        for name, track in self._tracks.items():
            groups.setdefault(track.group, []).append(name)
        return groups

    def _spare(self, members: Sequence[str], down: Collection[str]) -> int:
        """How many more of a group may go; negative: how many too many are out."""
        out = sum(1 for name in members if name in down or self._tracks[name].until is not None)
        floor = ceil(self._settings.min_healthy * len(members) - 1e-9)
        return len(members) - out - floor

    def _relieve(self, members: Sequence[str], now: float, down: Collection[str]) -> bool:
        """Takes the least bad back while too few are healthy. One that is down as well would not help."""
        lifted = False
        ejected = [name for name in members if self._tracks[name].until is not None]
        while ejected and self._spare(members, down) < 0:
            name = min(ejected, key=lambda name: (name in down, self._tracks[name].excess))
            ejected.remove(name)
            self._return(self._tracks[name], now)
            lifted = True
        return lifted

    def _return(self, track: _Track, at: float) -> None:
        track.until = None
        track.ended = at

    def _judge(self, members: Sequence[str], now: float, down: Collection[str]) -> bool:
        standings = [s for s in (self._standing(name, now) for name in members if name not in down) if s is not None]
        found: list[tuple[float, str, str]] = []
        for one in standings:
            excess, reason = self._compare(one, [other for other in standings if other is not one])
            if excess > 1.0:
                found.append((excess, one.name, reason))
        found.sort(reverse=True)
        out = found[: max(0, self._spare(members, down))]
        for excess, name, reason in out:
            self._eject(self._tracks[name], now, excess, reason)
        return bool(out)

    def _standing(self, name: str, now: float) -> _Standing | None:
        track = self._tracks[name]
        results = track.results
        while results and results[0][0] <= now - self._settings.window:
            results.popleft()
        if track.until is not None or len(results) < self._settings.minimum:
            return None
        firsts = [ttft for _, ok, ttft in results if ok and ttft is not None]
        enough = len(firsts) >= self._settings.minimum
        failed = sum(1 for _, ok, _ in results if not ok)
        return _Standing(name, failed / len(results), median(firsts) if enough else None)

    def _compare(self, one: _Standing, others: Sequence[_Standing]) -> tuple[float, str]:
        """How many times the limit its distance is (above 1: an outlier), and in words."""
        settings = self._settings
        worst = (0.0, "")
        if len(others) >= settings.peers:
            middle, spread = _middle([other.rate for other in others])
            limit = max(settings.error_gap, settings.deviations * spread)
            reason = f"{one.rate:.0%} errors, others {middle:.0%}"
            worst = max(worst, ((one.rate - middle) / limit, reason))
        firsts = [other.ttft for other in others if other.ttft is not None]
        if one.ttft is not None and len(firsts) >= settings.peers:
            middle, spread = _middle(firsts)
            limit = max(settings.ttft_gap, (settings.ttft_factor - 1) * middle, settings.deviations * spread)
            reason = f"median TTFT {one.ttft:.3g} s, others {middle:.3g} s"
            worst = max(worst, ((one.ttft - middle) / limit, reason))
        return worst

    def _eject(self, track: _Track, now: float, excess: float, reason: str) -> None:
        settings = self._settings
        relapse = track.times > 0 and now - track.ended <= track.lasted
        track.times = track.times + 1 if relapse else 1
        track.lasted = min(settings.eject_cap, settings.eject * track.times)
        track.until = now + track.lasted
        track.reason = reason
        track.excess = excess
        track.results.clear()


def _middle(values: Sequence[float]) -> tuple[float, float]:
    """Median, and the MAD scaled to a standard deviation."""
    middle = median(values)
    return middle, TO_DEVIATION * median([abs(value - middle) for value in values])
