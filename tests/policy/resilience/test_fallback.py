"""Fallbacks: every model and ready pool once, room before order, and the reasons name what was passed over."""

from hypothesis import given
from hypothesis import strategies as st

from penstock.policy.resilience.fallback import Pool, Step, order

STATES = st.tuples(st.booleans(), st.booleans()).map(lambda state: (state[0], state[0] and state[1]))
FLEETS = st.lists(st.sampled_from("abcd"), min_size=1, unique=True).flatmap(
    lambda models: st.tuples(
        st.just(models),
        st.fixed_dictionaries({
            model: st.dictionaries(st.sampled_from("pqrs"), STATES).map(
                lambda found: tuple(Pool(name, *state) for name, state in found.items())
            )
            for model in models
        }),
    )
)  # fmt: skip


@given(FLEETS)
def test_every_model_is_tried_in_its_turn_and_every_ready_pool_once(
    fleet: tuple[list[str], dict[str, tuple[Pool, ...]]],
) -> None:
    models, pools = fleet
    steps = order(models, pools)
    assert list(dict.fromkeys(step.model for step in steps)) == models
    assert all(step.reason for step in steps)
    for model in models:
        found = [step.pool for step in steps if step.model == model]
        ready = {pool.name for pool in pools[model] if pool.ready}
        if ready:
            assert sorted(found) == sorted(ready)
        else:
            assert found == [pools[model][0].name if pools[model] else ""]


@given(FLEETS)
def test_no_full_pool_comes_before_one_with_room_and_equals_keep_their_order(
    fleet: tuple[list[str], dict[str, tuple[Pool, ...]]],
) -> None:
    models, pools = fleet
    steps = order(models, pools)
    for model in models:
        stands = {pool.name: (not pool.room, place) for place, pool in enumerate(pools[model]) if pool.ready}
        found = [stands[step.pool] for step in steps if step.model == model and step.pool in stands]
        assert found == sorted(found)


def test_reasons_name_what_was_passed_over() -> None:
    pools = {"big": (Pool("gpu", True, False), Pool("spot", False, False), Pool("rented", True, True))}
    assert order(["big", "small"], pools) == [
        Step("big", "rented", "asked for; gpu is full, spot is not ready"),
        Step("big", "gpu", "asked for; gpu is full"),
        Step("small", "", "stands in for big"),
    ]


def test_without_a_ready_pool_the_first_ones_state_is_told() -> None:
    pools = {"big": (Pool("gpu", False, False), Pool("spot", False, False))}
    assert order(["big"], pools) == [Step("big", "gpu", "asked for; no pool of it is ready")]
