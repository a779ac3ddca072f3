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
PREFIX = "prefix %d tokens on %d of %d engines within load %.2f (least %.2f)"
SESSION = "session's own of %d engines within load %.2f"
NO_PREFIX = "no prefix: least load %.2f of %d engines within %.2f"


def balanced(view: View) -> Pick:
    """Affinity picks among engines inside the window; outside it, load alone decides.

    A prefix that everybody wants fills its engine's window; the next request for it then goes to the least loaded,
    which has learnt it from then on. So a hot prefix spreads as far as its traffic needs and no further.
    """
    values = view.values
    least = min(values)
    bound = view.bound(least)
    near: Sequence[int] = view.slots if max(values) <= bound else list(compress(view.slots, map(bound.__ge__, values)))
    if view.adapter:
        near = residents(view, near) or near
    if view.masks:
        window = view.mask if len(near) == len(view.slots) else bits(near)
        depth, holders = longest(view.masks, window & ~view.pressed)
        if holders:
            slots = members(holders)
            numbers = view.tokens(depth), len(slots), len(near), bound, least
            return (view.lightest(slots), PREFIX, numbers)
    return _no_prefix(view, near, bound, least)


def _no_prefix(view: View, near: Sequence[int], bound: float, least: float) -> Pick:
    ask, loads, pressed = view.ask, view.loads, view.pressed
    calm = ([slot for slot in near if not pressed >> slot & 1] if pressed else near) or near
    if ask.session:
        return (view.rendezvous(key_of(ask.session), calm), SESSION, (len(calm), bound))
    if calm is not view.slots:
        least = min([loads[slot] for slot in calm])
    ties = calm
    if max(view.values) > least + _TIE:
        tied = least + _TIE
        ties = [slot for slot in calm if loads[slot] <= tied]
    if len(ties) == 1:
        slot = ties[0]
    elif ask.chain:
        slot = view.rendezvous(ask.chain[0] * _SPREAD, ties)
    else:
        slot = ties[int(view.chance * len(ties))]
    return (slot, NO_PREFIX, (loads[slot], len(calm), bound))
