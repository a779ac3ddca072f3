"""The default: the longest prefix among engines near minimum load."""

from collections.abc import Sequence

from penstock.policy.route.prefix import longest
from penstock.policy.route.rendezvous import key_of
from penstock.policy.route.scores.adapter import residents
from penstock.policy.route.view import Pick, View, bits, members

_TIE = 0.25
"""Loads this close, in requests, are equal: the prompt's own engine decides, so workers that share nothing agree."""
_SPREAD = 0xD6E8FEB86659FD93
"""Odd: spreads a 32-bit hash over 64 bits."""


def balanced(view: View) -> Pick:
    """Affinity picks among engines inside the window; outside it, load alone decides.

    A prefix that everybody wants fills its engine's window; the next request for it then goes to the least loaded,
    which has learnt it from then on. So a hot prefix spreads as far as its traffic needs and no further.
    """
    least = view.least()
    bound = view.bound(least)
    near = _near(view, bound) if view.wants_adapter() else None
    depth, slots = _longest(view, view.mask if near is None else bits(near), bound)
    if slots:
        return Pick(
            view.lightest(slots),
            f"prefix {view.tokens(depth)} tokens on {len(slots)} of {len(view.slots)} engines"
            f" within load {bound:.2f} (least {least:.2f})",
        )
    return _no_prefix(view, near or _near(view, bound), bound)


def _longest(view: View, wanted: int, bound: float) -> tuple[int, list[int]]:
    """The greatest depth that an engine in the window has, and those engines; from the deepest up, each seen once."""
    left = wanted & ~view.pressed
    depth, holders = longest(view.masks, left)
    while holders:
        slots = _within(view, members(holders), bound)
        if slots:
            return depth, slots
        left &= ~holders
        depth, holders = longest(view.masks, left)
    return 0, []


def _near(view: View, bound: float) -> Sequence[int]:
    """Engines inside the window; of those, the ones where the request's adapter is in use, if any."""
    near = [slot for slot, load in zip(view.slots, view.values, strict=True) if load <= bound]
    return residents(view, near) or near


def _within(view: View, slots: Sequence[int], bound: float) -> list[int]:
    loads = view.loads
    return [slot for slot in slots if loads[slot] <= bound]


def _no_prefix(view: View, near: Sequence[int], bound: float) -> Pick:
    pressed = view.pressed
    calm = ([slot for slot in near if not pressed >> slot & 1] if pressed else near) or near
    if view.ask.session:
        slot = view.rendezvous(key_of(view.ask.session), calm)
        return Pick(slot, f"session's own of {len(calm)} engines within load {bound:.2f}")
    loads = view.loads
    least = min([loads[slot] for slot in calm])
    ties = _within(view, calm, least + _TIE)
    chain = view.ask.chain
    slot = view.rendezvous(chain[0] * _SPREAD, ties) if chain and len(ties) > 1 else view.any_of(ties)
    return Pick(slot, f"no prefix: least load {loads[slot]:.2f} of {len(calm)} engines within {bound:.2f}")
