"""Growing counters in, one point per second out. Pure: the caller brings the time."""

from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import floor

from penstock.gateway.admin.state import Buckets, Totals

SPAN_S = 300
RATE_WINDOW_S = 10
QUANTILE_WINDOW_S = 60
SHORTEST_S = 0.5
"""A rate over less than this says more of the jitter of the caller than of the traffic."""


@dataclass(frozen=True, slots=True)
class Point:
    """What happened in the `seconds` that ended at `t`.

    Quantiles are None when nothing was measured. Every figure but `in_flight` is None
    when a counter went back: an unknown rate is not zero.
    """

    t: float
    seconds: float
    in_flight: int
    requests_s: float | None = None
    errors_s: float | None = None
    tokens_s: float | None = None
    ttft_p50_s: float | None = None
    ttft_p95_s: float | None = None
    itl_p50_s: float | None = None
    itl_p95_s: float | None = None


@dataclass(frozen=True, slots=True)
class Growth:
    """How much each counter grew between two observations."""

    requests: int
    errors: int
    events: int
    ttft: Buckets
    itl: Buckets


class Timeline:
    """The last `span` seconds, at most one point for each second of the clock.

    Observations inside a second that already has its point are ignored; what they saw
    is counted by the next point, so nothing is lost.
    """

    def __init__(self, span: int = SPAN_S) -> None:
        self._span = span
        self._points: deque[tuple[Point, Growth | None]] = deque(maxlen=span)
        self._last: tuple[float, Totals] | None = None

    def observe(self, now: float, totals: Totals) -> None:
        """Take the counters as they stand at `now` (seconds on any steady clock)."""
        if self._last is None:
            self._last = (now, totals)
            return
        then, before = self._last
        if now < then:  # the clock was set back: old points have no place on the new one
            self._points.clear()
            self._last = (now, totals)
            return
        if floor(now) == floor(then) or now - then < SHORTEST_S:
            return
        growth = grown(before, totals)
        self._points.append((_point(now, now - then, totals.in_flight, growth), growth))
        self._last = (now, totals)
        while self._points[0][0].t <= now - self._span:
            self._points.popleft()

    def points(self) -> list[Point]:
        """Oldest first."""
        return [point for point, _ in self._points]

    def recent(self) -> Point:
        """The figures now: rates over the last 10 s, quantiles over the last 60 s.

        A single second of a quiet gateway holds too few requests to read a quantile from.
        """
        if self._last is None:
            return Point(t=0.0, seconds=0.0, in_flight=0)
        now, totals = self._last
        rates = list(self._since(now - RATE_WINDOW_S))
        seconds = sum(point.seconds for point, _ in rates)
        if not rates:
            return Point(t=now, seconds=0.0, in_flight=totals.in_flight)
        spread = [growth for _, growth in self._since(now - QUANTILE_WINDOW_S)]
        ttft = merged([growth.ttft for growth in spread])
        itl = merged([growth.itl for growth in spread])
        return Point(
            t=now,
            seconds=seconds,
            in_flight=totals.in_flight,
            requests_s=sum(growth.requests for _, growth in rates) / seconds,
            errors_s=sum(growth.errors for _, growth in rates) / seconds,
            tokens_s=sum(growth.events for _, growth in rates) / seconds,
            ttft_p50_s=quantile(ttft, 0.50),
            ttft_p95_s=quantile(ttft, 0.95),
            itl_p50_s=quantile(itl, 0.50),
            itl_p95_s=quantile(itl, 0.95),
        )

    def _since(self, start: float) -> Iterator[tuple[Point, Growth]]:
        for point, growth in self._points:
            if point.t > start and growth is not None:
                yield point, growth


def grown(before: Totals, after: Totals) -> Growth | None:
    """The difference, or None when any counter went back or a histogram changed shape.

    A sum over workers that went back lost a worker's share; what the others added in
    the same second cannot be told from it.
    """
    requests = after.requests - before.requests
    errors = after.errors - before.errors
    events = after.events - before.events
    ttft = _bucket_growth(before.ttft, after.ttft)
    itl = _bucket_growth(before.itl, after.itl)
    if ttft is None or itl is None or min(requests, errors, events) < 0:
        return None
    return Growth(requests, errors, events, ttft, itl)


def merged(parts: Sequence[Buckets]) -> Buckets:
    """Counts added up, over those with the bounds of the newest part."""
    if not parts:
        return Buckets((), (0,))
    bounds = parts[-1].bounds
    same = [part.counts for part in parts if part.bounds == bounds]
    return Buckets(bounds, tuple(sum(column) for column in zip(*same, strict=True)))


def quantile(buckets: Buckets, q: float) -> float | None:
    """Value at rank `q`, linear inside its bucket; None when the histogram is empty.

    The rule of Prometheus `histogram_quantile`: the first bucket starts at 0, and a
    rank in the overflow bucket gives the highest bound, which is then a lower limit.
    """
    total = sum(buckets.counts)
    if total == 0 or not buckets.bounds:
        return None
    rank = q * total
    below = 0
    low = 0.0
    for bound, count in zip(buckets.bounds, buckets.counts, strict=False):
        if count and below + count >= rank:
            return low + (bound - low) * (rank - below) / count
        below += count
        low = bound
    return buckets.bounds[-1]


def _bucket_growth(before: Buckets, after: Buckets) -> Buckets | None:
    if before.bounds != after.bounds:
        return None
    counts = tuple(b - a for a, b in zip(before.counts, after.counts, strict=True))
    return Buckets(after.bounds, counts) if min(counts) >= 0 else None


def _point(now: float, seconds: float, in_flight: int, growth: Growth | None) -> Point:
    if growth is None:
        return Point(t=now, seconds=seconds, in_flight=in_flight)
    return Point(
        t=now,
        seconds=seconds,
        in_flight=in_flight,
        requests_s=growth.requests / seconds,
        errors_s=growth.errors / seconds,
        tokens_s=growth.events / seconds,
        ttft_p50_s=quantile(growth.ttft, 0.50),
        ttft_p95_s=quantile(growth.ttft, 0.95),
        itl_p50_s=quantile(growth.itl, 0.50),
        itl_p95_s=quantile(growth.itl, 0.95),
    )
