"""Any policy, any fleet: only engines that may, the same choice for the same inputs, scores between 0 and 1."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.core.errors import ConfigError
from penstock.policy.route.facts import Ask, EngineFacts
from penstock.policy.route.policies import POLICIES
from penstock.policy.route.router import Router
from penstock.policy.route.scores import SCORERS
from penstock.policy.route.settings import RouteSettings
from tests.policy.route.fleets import ASKS, CHANCES, FLEETS, NAMES, PROPERTY, engine, reading

HISTORY = st.lists(st.tuples(st.sampled_from(NAMES), ASKS, st.booleans()), max_size=12)
EXCLUDED = st.frozensets(st.sampled_from(NAMES), max_size=3)


def lived(policy: str, fleet: list[EngineFacts], history: list[tuple[str, Ask, bool]]) -> Router:
    """A router with a past: requests begun, some of them ended."""
    router = Router(RouteSettings(policy=policy))
    router.update(fleet)
    for index, (name, ask, ended) in enumerate(history):
        lease = router.begin(name, ask, index * 0.1)
        if ended:
            router.end(lease, index * 0.1 + 0.05)
            router.learn(lease, index * 0.1 + 0.05, ttft_s=0.01 * index, tpot_s=0.001, prompt_tokens=ask.prompt_tokens)
    return router


def fits(facts: EngineFacts, ask: Ask) -> bool:
    """Written anew from the meaning of the fields."""
    served = not ask.model or ask.model in facts.models
    role = facts.role != "decode" if ask.leg == "prefill" else facts.role != "prefill"
    return served and role and facts.weight > 0 and ask.pool in ("", facts.pool)


@pytest.mark.parametrize("policy", sorted(POLICIES))
@PROPERTY
@given(fleet=FLEETS, history=HISTORY, ask=ASKS, now=st.floats(2, 40), chance=CHANCES, excluded=EXCLUDED)
def test_the_choice_may_be_made_and_is_repeatable(
    policy: str,
    fleet: list[EngineFacts],
    history: list[tuple[str, Ask, bool]],
    ask: Ask,
    now: float,
    chance: float,
    excluded: frozenset[str],
) -> None:
    router = lived(policy, fleet, history)
    may = {e.name: e for e in fleet if fits(e, ask) and e.name not in excluded}
    decision = router.choose(ask, now, chance, excluded)
    if decision is None:
        assert all(e.max_in_flight for e in may.values()), "engines without a bound are never full"
        return
    assert decision.engine in may
    bound = may[decision.engine].max_in_flight
    assert not bound or router.in_flight(decision.engine) < bound
    assert decision.reason
    assert "\n" not in decision.reason
    again = lived(policy, fleet, history).choose(ask, now, chance, excluded)
    assert again is not None
    assert (again.engine, again.reason, again.matched_tokens) == (
        decision.engine,
        decision.reason,
        decision.matched_tokens,
    )
    told = router.explain(decision)
    json.dumps(told, allow_nan=False)
    rows = told["candidates"]
    assert isinstance(rows, list)
    assert decision.engine in {row["engine"] for row in rows}
    for row in rows:
        assert set(row["parts"]) == set(SCORERS)
        assert all(0.0 <= part <= 1.0 for part in row["parts"].values()), row
        assert 0.0 <= row["score"] <= 1.0
    named = {row["engine"] for row in rows} | {row["engine"] for row in told["filtered"]}  # type: ignore[attr-defined]
    assert named == {e.name for e in fleet}, "every engine is a candidate or filtered"


@PROPERTY
@given(fleet=FLEETS, history=HISTORY, ask=ASKS, now=st.floats(2, 40), chance=CHANCES)
def test_balanced_stays_inside_its_window(
    fleet: list[EngineFacts], history: list[tuple[str, Ask, bool]], ask: Ask, now: float, chance: float
) -> None:
    router = lived("balanced", fleet, history)
    decision = router.choose(ask, now, chance)
    if decision is None:
        return
    told = router.explain(decision)
    loads = {row["engine"]: row["load"] for row in told["candidates"]}  # type: ignore[attr-defined]
    numbers = RouteSettings()
    least = min(loads.values())
    bound = max(least * numbers.window_relative, least + numbers.window_slack)
    if "worth the wait" in decision.reason:
        bound += numbers.detour
    assert loads[decision.engine] <= bound + 1e-9


def test_no_engine_no_decision() -> None:
    router = Router(RouteSettings())
    assert router.choose(Ask("m"), 0.0, 0.0) is None
    router.update([])
    assert router.choose(Ask("m"), 0.0, 0.0) is None


def test_the_only_engine_takes_everything_it_serves() -> None:
    router = Router(RouteSettings())
    router.update([engine("a")])
    decision = router.choose(Ask("m"), 0.0, 0.5)
    assert decision is not None
    assert (decision.engine, decision.reason, decision.candidates) == ("a", "only engine", 1)
    assert router.choose(Ask("other"), 0.0, 0.5) is None


def test_each_filtered_engine_has_its_reason() -> None:
    router = Router(RouteSettings())
    router.update(
        [
            engine("good"),
            engine("elsewhere", pool="p"),
            engine("other", models=frozenset({"n"})),
            engine("prefills", role="prefill"),
            engine("out", weight=0.0),
            engine("full", max_in_flight=1),
            engine("tried"),
        ]
    )
    router.begin("full", Ask("m"), 0.0)
    decision = router.choose(Ask("m", pool="default"), 1.0, 0.0, ["tried"])
    assert decision is not None
    filtered = router.explain(decision)["filtered"]
    assert isinstance(filtered, list)
    assert {row["engine"]: row["reason"] for row in filtered} == {
        "elsewhere": "in pool 'p', not 'default'",
        "other": "does not serve 'm'",
        "prefills": "prefills only",
        "out": "weight 0",
        "full": "max_in_flight reached",
        "tried": "excluded",
    }


def test_an_explanation_tells_the_moment_of_the_decision() -> None:
    router = Router(RouteSettings())
    router.update([engine("a"), engine("b")])
    ask = Ask("m", chain=tuple(range(1, 20)), prompt_tokens=600)
    decision = router.choose(ask, 0.0, 0.0)
    assert decision is not None
    before = router.explain(decision)
    router.begin(decision.engine, ask, 0.0)
    router.begin("b", ask, 0.0)
    assert router.explain(decision) == before
    router.update([engine("c")])
    assert router.explain(decision) == before


@pytest.mark.parametrize("settings", [RouteSettings(policy="fastest"), RouteSettings(weights={"luck": 1.0})])
def test_unknown_names_are_told_with_the_known_ones(settings: RouteSettings) -> None:
    with pytest.raises(ConfigError, match=r"balanced|kv_pressure"):
        Router(settings)


def test_a_stale_reading_gives_way_to_what_was_sent() -> None:
    router = Router(RouteSettings(policy="least_load"))
    router.update([engine("a", load=reading(0.0, running=20.0)), engine("b", load=reading(0.0, running=0.0))])
    for _ in range(5):
        router.begin("b", Ask("m"), 0.0)
    fresh, old = (router.choose(Ask("m"), now, 0.0) for now in (1.0, 30.0))
    assert fresh is not None
    assert fresh.engine == "b"
    assert old is not None
    assert old.engine == "a"


def test_a_readings_own_requests_are_not_counted_twice() -> None:
    router = Router(RouteSettings())
    router.update([engine("a")])
    for _ in range(4):
        router.begin("a", Ask("m"), 1.0)
    router.update([engine("a", load=reading(2.0, running=3.0, waiting=2.0))])
    assert router.load("a") == pytest.approx(5.0), "four of its own and one of others"


def test_requests_begun_after_a_reading_come_on_top() -> None:
    router = Router(RouteSettings())
    router.update([engine("a")])
    router.begin("a", Ask("m"), 1.0)
    router.begin("a", Ask("m"), 3.0)
    router.update([engine("a", load=reading(2.0, running=6.0))])
    assert router.load("a") == pytest.approx(7.0), "five of others, two of its own"


def test_a_lowered_weight_lowers_the_share() -> None:
    router = Router(RouteSettings(policy="least_load"))
    router.update([engine("a"), engine("b", weight=0.25)])
    for index in range(100):
        decision = router.choose(Ask("m"), 0.0, index / 100)
        assert decision is not None
        router.begin(decision.engine, Ask("m"), 0.0)
    assert router.in_flight("b") == pytest.approx(20, abs=2)


@PROPERTY
@given(
    bound=st.integers(1, 5),
    others=st.sampled_from([0.0, 1.0, 2.5, 9.0]),
    own=st.integers(0, 6),
    now=st.floats(0, 20),
)
def test_room_is_how_many_begin_until_an_engine_is_left_out(bound: int, others: float, own: int, now: float) -> None:
    router = Router(RouteSettings())
    router.update([engine("a", max_in_flight=bound, load=reading(running=others))])
    for _ in range(own):
        router.begin("a", Ask("m"), now)
    room = router.room("a", now)
    for _ in range(room):
        assert router.choose(Ask("m"), now, 0.0) is not None
        router.begin("a", Ask("m"), now)
    assert router.choose(Ask("m"), now, 0.0) is None
    assert router.room("a", now) == router.room("gone", now) == 0
