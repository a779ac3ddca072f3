"""What answers teach: the router how long engines take and how long prompts are, health who does well, timeouts what is
usual.

Good answers are learnt from when they are booked, a few at once. What went wrong is learnt at once, after what went
well before it: so failures in a row are in a row.
"""

from collections.abc import Iterable, Sequence
from math import ceil

from penstock.core.clock import monotonic
from penstock.core.errors import RequestError
from penstock.gateway.relay import Relay
from penstock.gateway.verdict import Verdict
from penstock.gateway.view import FleetView
from penstock.policy.resilience.timeouts import Timeouts
from penstock.policy.route.facts import Lease

MOST_TIMED = 8
"""Answers of a batch whose times are learnt: a busy second brings thousands, and the last few hundred count."""
TIMED_S = 0.1
"""Between two batches whose times are learnt. Learning from one answer costs as much as routing twenty."""


class Lessons:
    """Teaches what one worker's requests have shown. Of a request that had no choice nothing is learnt."""

    def __init__(self, fleet: FleetView, learned: Timeouts) -> None:
        self._fleet = fleet
        self._learned = learned
        self._due = 0.0

    def take(self, ended: Iterable[Relay]) -> None:
        """Requests that have ended, in order. Of those that did not go well all is known already."""
        well = [relay for relay in ended if relay.well]
        if not well:
            return
        times: dict[str, list[tuple[float, float | None]]] = {relay.engine: [] for relay in well}
        for relay in well:
            ttft_s = relay.first_at - relay.sent_at if relay.streaming and relay.first_at else None
            times[relay.engine].append((relay.ended_at, ttft_s))
        for engine, of_engine in times.items():
            self._fleet.health.answered(engine, of_engine)
        if well[-1].ended_at >= self._due:
            self._due = well[-1].ended_at + TIMED_S
            self._time(well[:: ceil(len(well) / MOST_TIMED)])

    def at_once(self, relay: Relay, lease: Lease, verdict: Verdict, failure: RequestError | None) -> None:
        """One attempt that has just ended."""
        relay.well = False
        now = monotonic()
        if verdict.ok:
            self._teach_router(lease, now, verdict)
        self._fleet.observed(lease, now, verdict)
        tries = relay.tries
        if tries is None or relay.left:
            return
        if relay.first_at:
            stall_s = max(relay.longest_gap_s, now - relay.heard_last if failure is not None else 0.0)
            first_s = relay.first_at - relay.sent_at
            self._learned.learned(tries.kind, first_s=first_s, stall_s=stall_s if relay.streaming else None)
        elif failure is not None and failure.code == "engine_slow":
            self._learned.learned(tries.kind, first_s=now - relay.sent_at)

    def _teach_router(self, lease: Lease, now: float, verdict: Verdict) -> None:
        self._fleet.router.learn(
            lease,
            now,
            ttft_s=verdict.ttft_s,
            tpot_s=verdict.tpot_s,
            prompt_tokens=verdict.prompt_tokens,
            cached_tokens=verdict.cached_tokens,
        )

    def _time(self, relays: Sequence[Relay]) -> None:
        for relay in relays:
            if relay.lease is not None:
                self._teach_router(relay.lease, relay.ended_at, relay.verdict(None))
            if relay.tries is not None and relay.first_at:
                stall_s = relay.longest_gap_s if relay.streaming else None
                self._learned.learned(relay.tries.kind, first_s=relay.first_at - relay.sent_at, stall_s=stall_s)
