"""Policies on load alone."""

from penstock.policy.route.policies.plain import thinned
from penstock.policy.route.view import Pick, View


def least_load(view: View) -> Pick:
    """The least loaded."""
    slot = view.lightest(view.slots)
    return (slot, "least load %.2f of %d", (view.loads[slot], len(view.slots)))


def power_of_two(view: View) -> Pick:
    """The less loaded of two taken by chance."""
    slots = thinned(view)
    count = len(slots)
    draw = int(view.chance * count * count)
    one, other = slots[draw // count % count], slots[draw % count]
    if one == other:
        other = slots[(slots.index(one) + 1) % count]
    slot = one if view.loads[one] <= view.loads[other] else other
    return (slot, "less loaded of two: %.2f and %.2f", (view.loads[one], view.loads[other]))
