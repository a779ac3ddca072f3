"""How near the engine is to the least loaded."""

from collections.abc import Callable

from penstock.policy.route.view import View


def load(view: View) -> Callable[[int], float]:
    """(least + 1) / (load + 1): 1 for the least loaded, a half where twice as much waits."""
    least, loads = view.least(), view.loads
    return lambda slot: (least + 1.0) / (loads[slot] + 1.0)
