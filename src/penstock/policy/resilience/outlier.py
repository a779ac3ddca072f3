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

from bisect import bisect_left
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
        self._out: set[str] = set()
        """Ejected engines."""

    def appeared(self, engine: str, group: str) -> None:
        """An engine that is compared with those of `group` from now on."""
        self._out.discard(engine)
        self._tracks[engine] = _Track(group, deque(maxlen=self._settings.samples))

    def left(self, engine: str) -> None:
        """Forgets an engine."""
        self._tracks.pop(engine, None)
        self._out.discard(engine)

    def observed(self, engine: str, now: float, ok: bool, ttft_s: float | None) -> None:
        """One result. Those of an ejected engine are stragglers and do not count."""
        track = self._tracks.get(engine)
        if track is not None and track.until is None:
            track.results.append((now, ok, ttft_s))

    def succeeded(self, engine: str, times: Sequence[tuple[float, float | None]]) -> None:
        """Good results, in order: when, and TTFT in seconds."""
        track = self._tracks.get(engine)
        if track is not None and track.until is None:
            track.results.extend([(now, True, ttft_s) for now, ttft_s in times[-self._settings.samples :]])

    def ejected(self, engine: str) -> bool:
        """Whether it is out, as of the last sweep."""
        return engine in self._out

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

        `down` are engines that are out for other reasons: they count against the floor. Costs nothing between two
        comparisons while nobody is ejected.
        """
        due = now >= self._next
        if not due and not self._out:
            return False
        changed = False
        for name in list(self._out):
            until = self._tracks[name].until
            if until is not None and now >= until:
                self._return(name, until)
                changed = True
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
        out = sum(1 for name in members if name in down or name in self._out)
        floor = ceil(self._settings.min_healthy * len(members) - 1e-9)
        return len(members) - out - floor

    def _relieve(self, members: Sequence[str], now: float, down: Collection[str]) -> bool:
        """Takes the least bad back while too few are healthy. One that is down as well would not help."""
        lifted = False
        ejected = [name for name in members if name in self._out]
        while ejected and self._spare(members, down) < 0:
            name = min(ejected, key=lambda name: (name in down, self._tracks[name].excess))
            ejected.remove(name)
            self._return(name, now)
            lifted = True
        return lifted

    def _return(self, name: str, at: float) -> None:
        self._out.remove(name)
        track = self._tracks[name]
        track.until = None
        track.ended = at

    def _judge(self, members: Sequence[str], now: float, down: Collection[str]) -> bool:
        standings = [s for s in (self._standing(name, now) for name in members if name not in down) if s is not None]
        rates = sorted(one.rate for one in standings)
        firsts = sorted(one.ttft for one in standings if one.ttft is not None)
        found: list[tuple[float, str, str]] = []
        for one in standings:
            excess, reason = max(self._errors(one, rates), self._latency(one, firsts))
            if excess > 1.0:
                found.append((excess, one.name, reason))
        found.sort(reverse=True)
        out = found[: max(0, self._spare(members, down))]
        for excess, name, reason in out:
            self._eject(name, now, excess, reason)
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

    def _errors(self, one: _Standing, rates: Sequence[float]) -> tuple[float, str]:
        """How many times the limit its distance is (above 1: an outlier), and in words."""
        settings = self._settings
        if len(rates) <= settings.peers:
            return 0.0, ""
        middle = _median_without(rates, one.rate)
        excess = self._excess(one.rate, middle, rates, settings.error_gap)
        return excess, f"{one.rate:.0%} errors, others {middle:.0%}" if excess else ""

    def _latency(self, one: _Standing, firsts: Sequence[float]) -> tuple[float, str]:
        settings = self._settings
        if one.ttft is None or len(firsts) <= settings.peers:
            return 0.0, ""
        middle = _median_without(firsts, one.ttft)
        gap = max(settings.ttft_gap, (settings.ttft_factor - 1) * middle)
        excess = self._excess(one.ttft, middle, firsts, gap)
        return excess, f"median TTFT {one.ttft:.3g} s, others {middle:.3g} s" if excess else ""

    def _excess(self, value: float, middle: float, ordered: Sequence[float], gap: float) -> float:
        """Distance as a multiple of the limit; 0 inside the gap, where the spread need not be known."""
        if value - middle <= gap:
            return 0.0
        others = list(ordered)
        others.remove(value)
        spread = TO_DEVIATION * median([abs(other - middle) for other in others])
        return (value - middle) / max(gap, self._settings.deviations * spread)

    def _eject(self, name: str, now: float, excess: float, reason: str) -> None:
        settings = self._settings
        self._out.add(name)
        track = self._tracks[name]
        relapse = track.times > 0 and now - track.ended <= track.lasted
        track.times = track.times + 1 if relapse else 1
        track.lasted = min(settings.eject_cap, settings.eject * track.times)
        track.until = now + track.lasted
        track.reason = reason
        track.excess = excess
        track.results.clear()


def _median_without(ordered: Sequence[float], value: float) -> float:
    """Median of sorted numbers, at least two, after one that equals `value` is taken out."""
    out = bisect_left(ordered, value)
    left = len(ordered) - 1
    low, high = (left - 1) // 2, left // 2
    return (ordered[low + (low >= out)] + ordered[high + (high >= out)]) / 2
