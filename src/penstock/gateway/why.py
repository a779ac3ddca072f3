"""Why a request went where it did: its decisions, tries and waits, for people."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from penstock.core.clock import monotonic

if TYPE_CHECKING:
    from penstock.core.record import Record
    from penstock.gateway.app import App
    from penstock.gateway.relay import Relay
    from penstock.policy.route.disaggregate import Split

UNCHOSEN = "one engine serves this model: there was no choice"


def why(app: App, request_id: str) -> list[dict[str, Any]]:
    """One row when this worker knows the request, running or lately ended; none otherwise."""
    # First, as it books what has just ended: the decisions go with the Record.
    record = next((record for record in app.recent(1 << 30) if record.id == request_id), None)
    choices = app.choices(request_id)
    decisions = choices.decisions
    running = next((row for row in app.live() if row["id"] == request_id), None)
    if record is None and running is None:
        return []
    tries = record.attempts if record is not None else []
    return [
        {
            "id": request_id,
            "running": running is not None,
            "queue_s": record.queue_s if record is not None else None,
            "reason": decisions[-1].reason if decisions else UNCHOSEN,
            "steps": msgspec.to_builtins(choices.steps),
            "decisions": [{**app.fleet.router.explain(each), "seconds": each.seconds} for each in decisions],
            "attempts": msgspec.to_builtins(tries),
            "legs": _legs(app, request_id, choices.split, record),
            "outcome": record.outcome if record is not None else None,
            "retry_budget": app.budget(monotonic()).explain(monotonic()),
        }
    ]


def _legs(app: App, request_id: str, split: Split | None, record: Record | None) -> dict[str, Any] | None:
    """Whether the request went in two legs, and how the first one ended; None where that was no question."""
    if split is None:
        return None
    explain = app.fleet.router.explain
    running = next((relay for relay in app.running if relay.request_id.decode("ascii") == request_id), None)
    first = record.prefill if record is not None else running.prefill if running is not None else None
    return {
        "reason": split.reason,
        "decode": split.decode.engine,
        "prefill": explain(split.prefill) if split.prefill is not None else None,
        "first_leg": msgspec.to_builtins(first),
    }


def headers_of(relay: Relay) -> list[bytes]:
    """Response headers that say where the answer comes from, for `routing.explain_headers`."""
    lines = [b"x-penstock-engine: " + relay.engine.encode(), b"x-penstock-queue-seconds: %.6f" % relay.queue_s]
    if relay.decisions:
        decision = relay.decisions[-1]
        lines.append(b"x-penstock-policy: " + decision.policy.encode())
        lines.append(b"x-penstock-prefix-tokens: %d" % decision.matched_tokens)
    return lines
