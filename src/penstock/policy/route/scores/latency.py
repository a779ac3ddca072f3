"""How soon the engine will be done, and what its work costs the others."""

from collections.abc import Callable

from penstock.policy.route.view import View


def expected(
    view: View, slot: int, cached: int | None = None, *, alone: bool = False, busy: int | None = None
) -> float | None:
    """Predicted seconds for the whole request; None when nothing is known of the engine. `cached`: with so many tokens
    of the prompt cached there, else with those that are believed to be. `alone`: if it had nothing else to do. `busy`:
    with so many engines busy, else with as many as usual."""
    if cached is None:
        cached = view.tokens(view.depth(slot))
    times = view.predictor.predict(view.standing(slot), view.ask, cached, alone=alone, busy=busy)
    return times[0] + times[1] * view.ask.output_tokens if times is not None else None


def lost(view: View) -> float:
    """Seconds that the requests in flight lose together for each that one more engine is busy. It takes no more than an
    even part of the machine from them."""
    busy = view.busy
    return busy.requests * min(view.predictor.crowding, 1.0 / (busy.engines + 1))


def predicted_latency(view: View) -> Callable[[int], float]:
    """Least predicted time / predicted time; 1 where nothing is known, so that it gets known."""
    known = {slot: time for slot in view.slots if (time := expected(view, slot)) is not None}
    least = min(known.values(), default=0.0)

    def score(slot: int) -> float:
        time = known.get(slot)
        return 1.0 if time is None or time <= least else least / time

    return score
