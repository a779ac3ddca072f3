"""Policies that look at nothing but the weights: yardsticks for the others."""

from collections.abc import Sequence

from penstock.policy.route.view import Pick, View

_SPREAD = 0.6180339887498949


def thinned(view: View) -> Sequence[int]:
    """Candidates, each with a weight below 1 left out as often as that asks; all of them when none is left."""
    if not view.frame.light & view.mask:
        return view.slots
    kept = [
        slot
        for slot in view.slots
        if view.standing(slot).facts.weight >= 1.0 or _drawn(view.chance, slot) < view.standing(slot).facts.weight
    ]
    return kept or view.slots


def _drawn(chance: float, slot: int) -> float:
    """Another number in [0, 1) from the one `chance`, different per slot."""
    return (chance * 9973.0 + slot * _SPREAD) % 1.0


def round_robin(view: View) -> Pick:
    """Each in turn."""
    slots = thinned(view)
    turn = view.turn % len(slots)
    return (slots[turn], "round robin: %d of %d", (turn + 1, len(slots)))


def random(view: View) -> Pick:
    """Any."""
    slots = thinned(view)
    return (view.any_of(slots), "random of %d", (len(slots),))
