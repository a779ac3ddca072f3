"""The default: the longest prefix among engines near minimum load."""

from collections.abc import Sequence
from itertools import compress

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
    near = _near(view, bound)
    window = view.mask if len(near) == len(view.slots) else bits(near)
    depth, holders = longest(view.masks, window & ~view.pressed)
    if holders:
        slots = members(holders)
        return Pick(
            view.lightest(slots),
            f"prefix {view.tokens(depth)} tokens on {len(slots)} of {len(near)} engines"
            f" within load {bound:.2f} (least {least:.2f})",
        )
    return _no_prefix(view, near, bound)


def _near(view: View, bound: float) -> Sequence[int]:
    """Engines inside the window; of those, the ones where the request's adapter is in use, if any."""
    near = list(compress(view.slots, map(bound.__ge__, view.values)))
    return residents(view, near) or near


def _no_prefix(view: View, near: Sequence[int], bound: float) -> Pick:
    pressed = view.pressed
    calm = ([slot for slot in near if not pressed >> slot & 1] if pressed else near) or near
    if view.ask.session:
        slot = view.rendezvous(key_of(view.ask.session), calm)
        return Pick(slot, f"session's own of {len(calm)} engines within load {bound:.2f}")
    loads = view.loads
    least = min([loads[slot] for slot in calm])
    ties = [slot for slot in calm if loads[slot] <= least + _TIE]
    chain = view.ask.chain
    slot = view.rendezvous(chain[0] * _SPREAD, ties) if chain and len(ties) > 1 else view.any_of(ties)
    return Pick(slot, f"no prefix: least load {loads[slot]:.2f} of {len(calm)} engines within {bound:.2f}")
