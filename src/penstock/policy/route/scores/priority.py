"""What a request of low priority may still take."""

from collections.abc import Callable

from penstock.policy.route.view import View


def priority(view: View) -> Callable[[int], float]:
    """1 inside the window, which is narrower for a negative priority; outside it bound / load."""
    bound = view.bound(view.least())
    return lambda slot: 1.0 if view.loads[slot] <= bound else bound / view.loads[slot]
