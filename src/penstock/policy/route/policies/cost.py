"""The cheapest engine that has room."""

from penstock.policy.route.view import Pick, View, members


def lowest_cost(view: View) -> Pick:
    """Cheapest among engines without a queue and without KV pressure; the least loaded when all have either."""
    crowded = view.mask & (view.frame.pressed | view.frame.queued)
    roomy = members(view.mask & ~crowded) if crowded else view.slots
    if not roomy:
        slot = view.lightest(view.slots)
        return (slot, "no room anywhere: least load %.2f of %d", (view.loads[slot], len(view.slots)))
    costs = [view.standing(slot).facts.cost for slot in roomy]
    cheapest = min(costs)
    slot = view.lightest([s for s, cost in zip(roomy, costs, strict=True) if cost == cheapest])
    return (slot, "lowest cost %g of %d with room", (cheapest, len(roomy)))
