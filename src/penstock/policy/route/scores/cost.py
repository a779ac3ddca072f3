"""What the engine costs."""

from collections.abc import Callable

from penstock.policy.route.view import View


def cost(view: View) -> Callable[[int], float]:
    """Least cost / cost: 1 for the cheapest. Among free engines those that cost something score 0."""
    least = min(view.standing(slot).facts.cost for slot in view.slots)

    def score(slot: int) -> float:
        own = view.standing(slot).facts.cost
        return 1.0 if own <= least else least / own

    return score
