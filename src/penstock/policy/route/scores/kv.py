"""How much of the KV cache is free."""

from collections.abc import Callable

from penstock.policy.route.view import View

_UNKNOWN = 0.5


def kv_pressure(view: View) -> Callable[[int], float]:
    """1 - utilisation; 0 for an engine that preempts; a half where utilisation is unknown or stale."""

    def score(slot: int) -> float:
        standing = view.standing(slot)
        if standing.preempting:
            return 0.0
        kv = standing.kv
        return 1.0 - kv if kv is not None else _UNKNOWN

    return score
