"""Where a LoRA adapter is at hand."""

from collections.abc import Callable, Sequence

from penstock.policy.route.view import View

_ROOM = 0.5


def adapter(view: View) -> Callable[[int], float]:
    """1 where the adapter is in use or the request wants none, a half where a slot is free, 0 where one must leave."""
    model = view.ask.model

    def score(slot: int) -> float:
        standing = view.standing(slot)
        if model not in standing.facts.adapters or _in_use(view, slot):
            return 1.0
        reading = standing.facts.load
        slots = reading.adapter_slots if reading is not None else None
        if reading is None or slots is None or len(reading.adapters) < slots:
            return _ROOM
        return 0.0

    return score


def residents(view: View, slots: Sequence[int]) -> list[int]:
    """Those of `slots` where the adapter is in use; none when the request wants no adapter."""
    if not view.group.adapter:
        return []
    return [slot for slot in slots if _in_use(view, slot)]


def _in_use(view: View, slot: int) -> bool:
    standing = view.standing(slot)
    model = view.ask.model
    if model in standing.claims.adapters:
        return True
    return standing.facts.load is not None and model in standing.facts.load.adapters
