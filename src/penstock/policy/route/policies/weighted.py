"""A weighted sum of scores, for those who want to tune."""

from penstock.policy.route.scores import SCORERS
from penstock.policy.route.view import Pick, View

EVEN = {"prefix": 1.0, "load": 1.0, "kv_pressure": 1.0}
"""When no weights are configured."""


def weighted(view: View) -> Pick:
    """The greatest sum of weight x score; the least loaded among equals."""
    weights = view.settings.weights or EVEN
    totals = [0.0] * len(view.slots)
    for name, weight in weights.items():
        scorer = SCORERS[name](view)
        totals = [total + weight * scorer(slot) for total, slot in zip(totals, view.slots, strict=True)]
    best = max(totals)
    slot = view.lightest([s for s, total in zip(view.slots, totals, strict=True) if total == best])
    return (slot, "score %.2f of at most %.2f, best of %d", (best, sum(weights.values()), len(totals)))
