"""Whether the engine is the session's own."""

from collections.abc import Callable

from penstock.policy.route.rendezvous import key_of
from penstock.policy.route.view import View


def session(view: View) -> Callable[[int], float]:
    """1 for the engine that the session hashes to and for all when there is no session, else 0."""
    if not view.ask.session:
        return lambda slot: 1.0
    own = view.rendezvous(key_of(view.ask.session), view.slots)
    return lambda slot: float(slot == own)
