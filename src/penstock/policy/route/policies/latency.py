"""The engine that will be done first, as far as is known."""

from penstock.policy.route.prefix import longest
from penstock.policy.route.scores.latency import expected
from penstock.policy.route.view import Pick, View, members

_CONSIDERED = 8
"""Predictions are made for so many of the least loaded, and half as many of the longest prefixes."""
_UNKNOWN = 5
"""Engines with fewer samples are tried first, or nothing would ever be learnt of them."""


def predicted_latency(view: View) -> Pick:
    """Least predicted time to the first token plus time per token after it, over the expected output."""
    slots = list(view.slots)
    if len(slots) > _CONSIDERED:
        _, holders = longest(view.masks, view.mask)
        near = [slot for _, slot in sorted(zip(view.values, slots, strict=True))[:_CONSIDERED]]
        slots = list(dict.fromkeys(near + members(holders)[: _CONSIDERED // 2]))
    unknown = [s for s in slots if view.predictor.samples(view.standing(s).facts.name) < _UNKNOWN]
    if unknown:
        slot = view.lightest(unknown)
        return (slot, "%d engines yet unknown: least load %.2f", (len(unknown), view.loads[slot]))
    times = [expected(view, slot) or 0.0 for slot in slots]
    best = min(times)
    slot = view.lightest([s for s, time in zip(slots, times, strict=True) if time == best])
    return (slot, "predicted %.0f ms, best of %d considered", (best * 1e3, len(slots)))
