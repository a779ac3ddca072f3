"""Prefix affinity alone: the yardstick that makes hot spots."""

from penstock.policy.route.prefix import longest
from penstock.policy.route.view import Pick, View, members


def prefix(view: View) -> Pick:
    """The longest prefix, whatever the load; the least loaded among equals."""
    depth, holders = longest(view.masks, view.mask)
    slots = members(holders) if holders else view.slots
    slot = view.lightest(slots)
    return (slot, "prefix %d tokens on %d of %d", (view.tokens(depth), len(slots), len(view.slots)))
