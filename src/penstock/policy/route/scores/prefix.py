"""How much of the prompt is cached already."""

from collections.abc import Callable

from penstock.policy.route.view import View


def prefix(view: View) -> Callable[[int], float]:
    """Share of the prompt's blocks that the engine has; 0 without a prompt or a match."""
    return view.share
