"""The default: the longest prefix among engines near minimum load."""

from collections.abc import Sequence
from itertools import compress

from penstock.policy.route.prefix import longest
from penstock.policy.route.rendezvous import key_of
from penstock.policy.route.scores.adapter import residents
from penstock.policy.route.scores.latency import expected
from penstock.policy.route.view import Pick, View, bits, members

_TIE = 0.25
"""Loads this close, in requests, are equal: the prompt's own engine decides, so workers that share nothing agree."""
_BOTH = 2.0
"""What company costs the request it costs those it joins about as well."""
_WANTED = 0.25
"""What company is held to cost at least, as a part of a request alone, once a prefix has been shared before: each time
it is, that it will be wanted again is more likely, and that it belongs on every engine that has time for it."""
_SLOW = 2.0
"""An idle engine that is known to take so many times as long as the holder would, alone, gets no copy."""
PREFIX = "prefix %d tokens on %d of %d engines within load %.2f (least %.2f)"
WORTH = "prefix %d tokens worth the wait: load %.2f, within %.2f (least %.2f), %.2f of an even share"
COPY = "idle, reads the prefix: %.3f s once, company at its holder %.3f s each time (%d tokens, load %.2f)"
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
                and (found := _second_copy(view, slot, depth, least)) is not None
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
    limit = bound + min(view.settings.detour, saved)
    load, share = view.loads[slot], view.group.share(slot)
    if load > limit or share > min(view.settings.wanted, 1.0 + 0.25 * (len(view.group.slots) - 1)):
        return None
    return (slot, WORTH, (tokens, load, limit, least, share))


def _second_copy(view: View, holder: int, depth: int, least: float) -> Pick | None:
    """An idle engine that reads the prefix anew, as its holder is busy, where that pays by what answers have taught.

    Company at the holder costs the request the time that it ends later, and those who are there about as much
    together. Where that is more than the reading takes, the prefix is read at once; else when it has been so often
    enough. Each prefix pays for its own copies, so one that is wanted once never is copied for little, and a turn of a
    conversation only where that pays at once. What sharing costs is charged when the request begins.

    Both are differences of what the holder's own answers have taught. An idle engine knows little of cached prompts,
    as it answers few, and two engines' regressions differ by chance more than engines of one pool do.
    """
    if not view.predictor.settled(view.standing(holder)):
        return None
    most, pressed = least + _TIE, view.frame.pressed
    idle = [
        slot for slot, load in zip(view.slots, view.values, strict=True) if load <= most and not pressed >> slot & 1
    ]
    if view.group.adapter:
        idle = residents(view, idle)
    if not idle:
        return None
    slot = view.lightest_and_coolest(members(longest(view.masks, bits(idle))[1]) or idle)
    cached = view.tokens(depth)
    shared, alone = expected(view, holder, cached), expected(view, holder, cached, alone=True)
    anew = expected(view, holder, view.tokens(view.depth(slot)), alone=True)
    if shared is None or alone is None or anew is None:
        return None
    there = expected(view, slot) if view.predictor.settled(view.standing(slot)) else None
    if there is not None and there > _SLOW * anew:
        return None
    company_s, reading_s = _BOTH * max(0.0, shared - alone), anew - alone
    prefix = (view.told or view.ask.chain)[depth - 1]
    before = view.regrets.owed(prefix)
    if before is not None:
        company_s = max(company_s, _WANTED * alone)
    owed = (before or 0.0) + company_s
    if owed < reading_s or not owed:
        view.charge = (prefix, owed)
        return None
    view.charge = (prefix, 0.0)
    return (slot, COPY, (reading_s, company_s, cached, view.loads[holder]))


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
