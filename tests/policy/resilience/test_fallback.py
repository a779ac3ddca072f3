"""Fallbacks: own place first, nothing twice, circles refused, reasons kept."""

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from penstock.core.errors import ConfigError
from penstock.policy.resilience.fallback import Fallback, Fallbacks, Left, Target, Trail

MODELS = st.sampled_from(["a", "b", "c", "d", "*"])
POOLS = st.sampled_from(["p", "q", "*"])
TARGETS = st.builds(Target, model=st.sampled_from(["", "a", "b", "c", "d"]), pool=st.sampled_from(["", "p", "q"]))
RULES = st.lists(
    st.builds(Fallback, to=st.lists(TARGETS, min_size=1, max_size=3).map(tuple), model=MODELS, pool=POOLS), max_size=6
)


def accepted(rules: list[Fallback]) -> Fallbacks | None:
    try:
        return Fallbacks(rules)
    except ConfigError:
        return None


@given(rules=RULES, model=st.sampled_from("abcde"), pool=st.sampled_from("pq"))
def test_an_order_begins_with_what_was_asked_for_and_takes_no_place_twice(
    rules: list[Fallback], model: str, pool: str
) -> None:
    fallbacks = accepted(rules)
    assume(fallbacks is not None)
    assert fallbacks is not None
    order = fallbacks.order(model, pool)
    places = [(step.model, step.pool) for step in order]
    assert places[0] == (model, pool)
    assert len(set(places)) == len(places)
    assert all(step.reason for step in order)
    trail = Trail(order)
    while trail.next("engine_unavailable") is not None:
        pass
    assert [(left.model, left.pool) for left in trail.left] == places


def test_a_targets_own_fallbacks_follow_it() -> None:
    fallbacks = Fallbacks(
        [
            Fallback(model="large", to=(Target("medium"), Target("", "spare"))),
            Fallback(model="medium", to=(Target("small"),)),
        ]
    )
    order = fallbacks.order("large", "main")
    assert [(step.model, step.pool) for step in order] == [
        ("large", "main"),
        ("medium", "main"),
        ("small", "main"),
        ("large", "spare"),
        ("medium", "spare"),
        ("small", "spare"),
    ]
    assert order[2].reason == "stands in for medium@main"


def test_the_closest_rule_decides() -> None:
    fallbacks = Fallbacks(
        [
            Fallback(model="a", pool="p", to=(Target("b"),)),
            Fallback(model="a", to=(Target("c"),)),
            Fallback(pool="p", to=(Target("", "q"),)),
            Fallback(to=(Target("d"),)),
        ]
    )
    second = {
        (model, pool): fallbacks.order(model, pool)[1]
        for model, pool in [("a", "p"), ("a", "q"), ("x", "p"), ("x", "q")]
    }
    assert {key: (step.model, step.pool) for key, step in second.items()} == {
        ("a", "p"): ("b", "p"),
        ("a", "q"): ("c", "q"),
        ("x", "p"): ("x", "q"),
        ("x", "q"): ("d", "q"),
    }


@pytest.mark.parametrize(
    ("rules", "circle"),
    [
        ([Fallback(model="a", to=(Target("b"),)), Fallback(model="b", to=(Target("a"),))], "a@* -> b@* -> a@*"),
        ([Fallback(model="a", to=(Target("a"),))], "a@* -> a@*"),
        (
            [
                Fallback(model="a", pool="p", to=(Target("", "q"),)),
                Fallback(model="a", pool="q", to=(Target("", "p"),)),
            ],
            "",
        ),
        ([Fallback(model="a", to=(Target("b", "q"),)), Fallback(model="b", pool="q", to=(Target("a"),))], "b@q -> a@q"),
        ([Fallback(pool="p", to=(Target("", "q"),)), Fallback(pool="q", to=(Target("", "p"),))], "*@p -> *@q -> *@p"),
    ],
)
def test_circles_are_refused_by_name(rules: list[Fallback], circle: str) -> None:
    with pytest.raises(ConfigError, match="is a circle") as caught:
        Fallbacks(rules)
    assert circle in str(caught.value)


def test_a_rule_for_any_model_may_name_one_and_two_rules_for_one_place_are_refused() -> None:
    assert [step.model for step in Fallbacks([Fallback(to=(Target("safe"),))]).order("x", "p")] == ["x", "safe"]
    with pytest.raises(ConfigError, match="join their lists"):
        Fallbacks([Fallback(to=(Target("a"),)), Fallback(to=(Target("b"),))])


def test_the_trail_keeps_why_each_step_was_left() -> None:
    trail = Trail(Fallbacks([Fallback(model="a", to=(Target("b"),))]).order("a", "p"))
    assert trail.step.model == "a"
    step = trail.next("queue_full")
    assert step is not None
    assert step.model == "b"
    assert trail.next("engine_unavailable") is None
    assert trail.next("engine_unavailable") is None
    assert trail.left == [Left("a", "p", "queue_full"), Left("b", "p", "engine_unavailable")]
