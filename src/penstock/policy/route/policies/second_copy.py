"""An idle engine reads a prefix anew, as its holder is busy, where that pays by what answers have taught."""

from typing import NamedTuple

from penstock.policy.route.prefix import longest
from penstock.policy.route.scores.adapter import residents
from penstock.policy.route.scores.latency import expected, lost
from penstock.policy.route.view import Pick, View, bits, members

_BOTH = 2.0
"""What company costs the request it costs those it joins about as well."""
_WANTED = 0.25
"""What company is held to cost at least, as a part of a request alone, once a prefix has been shared before: each time
it is, that it will be wanted again is more likely, and that it belongs on every engine that has time for it."""
_SLOW = 2.0
"""An idle engine that is known to take so many times as long as the holder would, alone, gets no copy."""
COPY = "idle, reads the prefix: %.3f s once, company at its holder %.3f s each time (%d tokens, load %.2f)"


class _Costs(NamedTuple):
    """Seconds, of all that they fall to together."""

    alone: float
    """The request, with its prefix and an engine to itself."""
    company: float
    reading: float


def second_copy(view: View, holder: int, depth: int, most: float) -> Pick | None:
    """The idle engine, of a load of `most` or less, if it shall read `depth` entries that the busy `holder` has.

    Company at the holder costs the request the time that it ends later, and those who are there about as much
    together. Where that is more than the reading takes, the prefix is read at once; else when it has been so often
    enough. Each prefix pays for its own copies, so one that is wanted once never is copied for little, and a turn of a
    conversation only where that pays at once. What sharing costs is charged when the request begins.
    """
    if not view.predictor.settled(view.standing(holder)):
        return None
    slot = _reader(view, most)
    if slot is None:
        return None
    cached = view.tokens(depth)
    costs = _costs(view, holder, slot, cached)
    if costs is None:
        return None
    company_s = costs.company
    prefix = (view.told or view.ask.chain)[depth - 1]
    before = view.regrets.owed(prefix)
    if before is not None:
        company_s = max(company_s, _WANTED * costs.alone)
    owed = (before or 0.0) + company_s
    if owed < costs.reading or not owed:
        view.charge = (prefix, owed)
        return None
    view.charge = (prefix, 0.0)
    return (slot, COPY, (costs.reading, company_s, cached, view.loads[holder]))


def _reader(view: View, most: float) -> int | None:
    """The idle engine that has most of the prefix, not short of KV cache and with the adapter in use where some are."""
    pressed = view.frame.pressed
    idle = [
        slot for slot, load in zip(view.slots, view.values, strict=True) if load <= most and not pressed >> slot & 1
    ]
    if view.group.adapter:
        idle = residents(view, idle)
    if not idle:
        return None
    return view.lightest_and_coolest(members(longest(view.masks, bits(idle))[1]) or idle)


def _costs(view: View, holder: int, slot: int, cached: int) -> _Costs | None:
    """What answers of the holder's have taught; None where they have not, or the idle engine is known to be slow.

    An idle engine knows little of cached prompts, as it answers few, and two engines' regressions differ by chance more
    than engines of one pool do.

    To take the idle engine makes one more busy. Where they share cores, the request gains less by it, and all others
    end later while the prefix is read.
    """
    busy, held = view.busy.engines, view.standing(holder).requests()
    shared = expected(view, holder, cached, busy=busy)
    alone = expected(view, holder, cached, alone=True, busy=busy + 1)
    anew = expected(view, holder, view.tokens(view.depth(slot)), alone=True, busy=busy + 1)
    if shared is None or alone is None or anew is None:
        return None
    there = expected(view, slot) if view.predictor.settled(view.standing(slot)) else None
    if there is not None and there > _SLOW * anew:
        return None
    reading = anew - alone
    # Whoever shares evenly with n others takes at most n + 1 times as long.
    alone = max(alone, shared / (1 + held))
    return _Costs(alone, _BOTH * max(0.0, shared - alone), reading + anew * lost(view))
