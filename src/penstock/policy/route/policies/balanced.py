"""The default: the longest prefix among engines near minimum load."""

from collections.abc import Sequence
from itertools import compress

from penstock.policy.route.policies.second_copy import second_copy
from penstock.policy.route.prefix import longest
from penstock.policy.route.rendezvous import key_of
from penstock.policy.route.scores.adapter import residents
from penstock.policy.route.scores.latency import lost
from penstock.policy.route.view import Pick, View, bits, members

_TIE = 0.25
"""Loads this close, in requests, are equal: the prompt's own engine decides, so workers that share nothing agree."""
PREFIX = "prefix %d tokens on %d of %d engines within load %.2f (least %.2f)"
WORTH = "prefix %d tokens worth the wait: load %.2f, within %.2f (least %.2f), %.2f of an even share"
SESSION = "session's own of %d engines within load %.2f"
NO_PREFIX = "no prefix: least load %.2f of %d engines"


def balanced(view: View) -> Pick:
    """Affinity picks among engines inside the window; outside it, load alone decides.

    A prefix that everybody wants fills its engine's window; the next request for it then goes to the least loaded,
    which has learnt it from then on. So a hot prefix spreads as far as its traffic needs and no further.

    An engine that is full is as good a holder as another, and the request waits there: to leave it for whoever has room
    would bring every prompt to every engine as soon as there is a queue.
    """
    values = view.values
    least = min(values)
    if not (view.masks or view.frame.pressed or view.ask.session or view.group.adapter):
        return _by_load(view, view.slots, values, least)
    bound = view.bound(least)
    near: Sequence[int] = view.slots if max(values) <= bound else list(compress(view.slots, map(bound.__ge__, values)))
    if view.group.adapter:
        near = residents(view, near) or near
    if view.masks:
        window = view.mask if len(near) == len(view.slots) else bits(near)
        calm, full = ~view.frame.pressed, view.full
        if full:
            window |= bits([slot for slot in members(full) if view.loads[slot] <= bound])
        depth, holders = longest(view.masks, window & calm)
        if (full or near is not view.slots) and view.ask.priority >= 0:
            deeper, beyond = longest(view.masks, (view.mask | full) & calm)
            alone = not beyond & beyond - 1
            if deeper > depth and alone and (found := _worth(view, deeper, beyond, depth, bound, least)) is not None:
                return found
        if holders:
            slots = view.slots if holders == view.mask else members(holders & ~full or holders)
            slot = view.lightest_and_coolest(slots)
            if (
                least < _TIE
                and view.loads[slot] >= 1.0
                and (found := second_copy(view, slot, depth, least + _TIE)) is not None
            ):
                return found
            tokens = view.matched = view.tokens(depth)
            return (slot, PREFIX, (tokens, len(slots), len(near), bound, least))
    return _no_prefix(view, near, bound, least)


def _worth(view: View, deeper: int, beyond: int, depth: int, bound: float, least: float) -> Pick | None:
    """The one holder, beyond the window, if to read the prefix anew elsewhere would take longer than to wait for it.

    Not when it has far more than its share of what is decided: a prefix that too many want has to be learnt by others.
    With two holders that are both beyond the window, that is what they say.
    """
    slot = beyond.bit_length() - 1
    tokens = view.tokens(deeper)
    saved = (tokens - view.tokens(depth)) / max(1.0, view.typical)
    if view.predictor.settled(view.standing(slot)):
        saved *= 1.0 + lost(view)
    limit = bound + min(view.settings.detour, saved)
    load, share = view.loads[slot], view.group.share(slot)
    if load > limit or share > min(view.settings.wanted, 1.0 + 0.25 * (len(view.group.slots) - 1)):
        return None
    return (slot, WORTH, (tokens, load, limit, least, share))


def _no_prefix(view: View, near: Sequence[int], bound: float, least: float) -> Pick:
    ask, loads, pressed = view.ask, view.loads, view.frame.pressed
    calm = ([slot for slot in near if not pressed >> slot & 1] if pressed else near) or near
    if ask.session:
        return (view.rendezvous(key_of(ask.session), calm), SESSION, (len(calm), bound))
    values = [loads[slot] for slot in calm]
    return _by_load(view, calm, values, min(values))


def _by_load(view: View, slots: Sequence[int], values: Sequence[float], least: float) -> Pick:
    """One of the least loaded; `values` are the loads of `slots`."""
    tied = least + _TIE
    ties = slots if max(values) <= tied else list(compress(slots, map(tied.__ge__, values)))
    chain = view.ask.chain
    if len(ties) == 1:
        slot = ties[0]
    elif chain:
        # What comes later follows the prompt: an engine that has more than its share gets no further prefix.
        share, even = view.group.share, view.settings.even
        cool = [slot for slot in ties if share(slot) <= even] or ties
        slot = view.rendezvous(chain[0], cool)
    else:
        slot = ties[int(view.chance * len(ties))]
    return (slot, NO_PREFIX, (view.loads[slot], len(slots)))
