"""Bulkheads: no model exceeds its bound, none takes another's places, and every place returns."""

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from penstock.policy.resilience.bulkhead import Bulkheads, BulkheadSettings, Place

ACTIONS = st.lists(st.tuples(st.sampled_from("abc"), st.booleans(), st.integers(0, 100)), max_size=100)


@given(actions=ACTIONS, each=st.integers(0, 3), own=st.integers(0, 3))
def test_bounds_hold_and_places_return(actions: list[tuple[str, bool, int]], each: int, own: int) -> None:
    bulkheads = Bulkheads(BulkheadSettings(each=each, models={"a": own}))
    places: list[Place] = []
    for model, enters, which in actions:
        bound = own if model == "a" else each
        held = Counter(place.model for place in places)[model]
        if enters:
            place = bulkheads.enter(model)
            assert (place is None) == (bound > 0 and held >= bound)
            if place is not None:
                places.append(place)
        elif places:
            gone = places.pop(which % len(places))
            bulkheads.leave(gone)
            bulkheads.leave(gone)
        assert Counter(place.model for place in places) == Counter(
            {model: bulkheads.in_flight(model) for model in "abc" if bulkheads.in_flight(model)}
        )
    for place in places:
        bulkheads.leave(place)
    assert bulkheads.explain() == {}


def test_it_explains_what_is_taken() -> None:
    bulkheads = Bulkheads(BulkheadSettings(each=2))
    bulkheads.enter("a")
    assert bulkheads.explain() == {"a": {"in_flight": 1, "bound": 2}}
