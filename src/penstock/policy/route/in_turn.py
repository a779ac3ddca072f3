"""Which ready engine takes a request: the one with the fewest requests in flight, in turn among equals."""

from collections.abc import Collection, Mapping, Sequence

import msgspec

from penstock.core.endpoint import Endpoint


class Choice(msgspec.Struct, frozen=True):
    """The engine chosen, and why."""

    endpoint: Endpoint
    reason: str


def choose(
    candidates: Sequence[Endpoint], in_flight: Mapping[str, int], excluded: Collection[str], turn: int
) -> Choice | None:
    """Least loaded of `candidates` that is not `excluded`; None when none is left.

    `turn` is a counter that only breaks ties, so that idle engines share the work.
    """
    if len(candidates) == 1 and not excluded:
        return Choice(candidates[0], "only engine")
    left = [e for e in candidates if e.name not in excluded]
    if not left:
        return None
    least = min(in_flight.get(e.name, 0) for e in left)
    equals = [e for e in left if in_flight.get(e.name, 0) == least]
    reason = f"least in flight ({least}) of {len(left)}"
    return Choice(equals[turn % len(equals)], reason)
