"""A prefix whose engine is full: its request waits there, if the caller lets it."""

from typing import Any

from penstock.policy.route.facts import Ask, Decision
from penstock.policy.route.router import Router
from penstock.policy.route.settings import RouteSettings
from tests.policy.route.fleets import engine

CHAIN = tuple(range(1, 31))
OTHER = tuple(range(101, 131))
ASK = Ask("m", CHAIN, 4000, 16)


def full_holder(policy: str = "balanced", engines: str = "abc", bound: int = 2) -> Router:
    """`a` has the prefix and as many requests as it may have; they are short ones."""
    router = Router(RouteSettings(policy=policy))
    router.update([engine(name, max_in_flight=bound) for name in engines])
    router.end(router.begin("a", ASK, 0.0), 0.1)
    for _ in range(bound):
        router.begin("a", Ask("m", CHAIN, 4000, 16), 0.2)
    return router


def decided(router: Router, ask: Ask = ASK, *, may_wait: bool = True) -> Decision:
    decision = router.choose(ask, 1.0, 0.0, may_wait=may_wait)
    assert decision is not None
    return decision


def test_it_waits_where_the_prefix_is() -> None:
    decision = decided(full_holder())
    assert (decision.engine, decision.full) == ("a", True)
    assert decision.matched_tokens > 2000


def test_not_unless_the_caller_lets_it() -> None:
    decision = decided(full_holder(), may_wait=False)
    assert decision.engine != "a"
    assert not decision.full


def test_those_who_wait_fill_the_engine_until_reading_anew_is_quicker() -> None:
    router = full_holder()
    went = []
    for _ in range(20):
        decision = decided(router)
        went.append(decision.engine)
        if decision.engine != "a":
            break
        router.begin("a", ASK, 1.0, decision)
    assert 1 < len(went) < 15, went
    assert went[-1] != "a"


def test_a_holder_with_room_is_preferred() -> None:
    router = full_holder()
    router.end(router.begin("b", ASK, 0.0), 0.1)
    decision = decided(router)
    assert (decision.engine, decision.full) == ("b", False)


def test_what_no_full_engine_has_goes_where_there_is_room() -> None:
    router = full_holder()
    for _ in range(5):
        decision = decided(router, Ask("m", OTHER, 4000, 16))
        assert decision.engine != "a"
        assert not decision.full
        router.end(router.begin(decision.engine, Ask("m", OTHER, 4000, 16), 1.0), 1.1)


def test_nobody_waits_in_the_router_when_all_are_full() -> None:
    router = full_holder(engines="a")
    assert router.choose(ASK, 1.0, 0.0, may_wait=True) is None


def test_other_policies_pass_full_engines_by() -> None:
    for policy in ("prefix", "least_load", "round_robin", "session"):
        assert decided(full_holder(policy)).engine != "a", policy


def test_an_excluded_engine_is_not_waited_for() -> None:
    decision = full_holder().choose(ASK, 1.0, 0.0, ["a"], may_wait=True)
    assert decision is not None
    assert decision.engine != "a"


def test_the_account_names_the_engine_that_is_waited_for() -> None:
    router = full_holder()
    told: Any = router.explain(decided(router))
    assert told["waits"] is True
    assert "a" in [row["engine"] for row in told["candidates"]]
    assert "a" not in [row["engine"] for row in told["filtered"]]
    told = router.explain(decided(router, may_wait=False))
    assert {"engine": "a", "reason": "max_in_flight reached"} in told["filtered"]


def test_room_without_those_who_only_wait() -> None:
    router = full_holder()
    waiting = router.begin("a", ASK, 1.0)
    assert router.room("a", 1.0) == 0
    assert router.room("a", 1.0, 1) == 0
    router.end(waiting, 1.1)
    first = router.begin("b", ASK, 1.0)
    router.begin("b", ASK, 1.0)
    router.begin("b", ASK, 1.0)
    assert router.room("b", 1.0, 1) == 0
    router.end(first, 1.2)
    assert router.room("b", 1.2, 1) == 1
