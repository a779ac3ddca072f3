"""What tells each named policy from the others."""

from collections import Counter

import pytest

from penstock.core.load import Load
from penstock.policy.route.facts import Ask, Decision, EngineFacts
from penstock.policy.route.prefix import prompt_chain
from penstock.policy.route.rendezvous import key_of, preferred
from penstock.policy.route.router import Router
from penstock.policy.route.settings import RouteSettings
from penstock.policy.route.tokens import token_chain
from tests.policy.route.fleets import engine, reading

CHAIN = tuple(range(1, 41))


def routed(policy: str, *engines: EngineFacts, **more: object) -> Router:
    router = Router(RouteSettings(policy=policy, **more))  # type: ignore[arg-type]
    router.update(engines)
    return router


def chosen(router: Router, ask: Ask, chance: float = 0.0) -> Decision:
    decision = router.choose(ask, 1.0, chance)
    assert decision is not None
    return decision


def test_round_robin_goes_round() -> None:
    router = routed("round_robin", *(engine(n) for n in "abc"))
    assert "".join(chosen(router, Ask("m")).engine for _ in range(6)) == "abcabc"


@pytest.mark.parametrize("policy", ["random", "power_of_two", "least_load", "balanced"])
def test_chance_spreads_over_equals(policy: str) -> None:
    router = routed(policy, *(engine(n) for n in "abcd"))
    counts = Counter(chosen(router, Ask("m"), i / 1000).engine for i in range(1000))
    assert all(200 <= counts[n] <= 300 for n in "abcd"), counts


@pytest.mark.parametrize("policy", ["random", "round_robin", "session"])
def test_a_low_weight_thins_policies_without_load(policy: str) -> None:
    router = routed(policy, engine("a"), engine("b", weight=0.1))
    counts = Counter(chosen(router, Ask("m", session=f"s{i}"), i / 1000).engine for i in range(1000))
    assert 10 <= counts["b"] <= 110


def test_power_of_two_never_takes_the_most_loaded() -> None:
    router = routed("power_of_two", *(engine(n, load=reading(1.0, running=float(i))) for i, n in enumerate("abcd")))
    assert {chosen(router, Ask("m"), i / 100).engine for i in range(100)} == set("abc")


def test_prefix_follows_the_prefix_into_any_load() -> None:
    router = routed("prefix", engine("a"), engine("b"))
    for _ in range(50):
        router.begin("a", Ask("m", CHAIN, 500), 0.0)
    assert chosen(router, Ask("m", CHAIN, 500)).engine == "a"


def test_balanced_leaves_the_prefix_when_the_window_is_full_and_teaches_another() -> None:
    router = routed("balanced", engine("a"), engine("b"))
    ask = Ask("m", CHAIN, 0)
    router.end(router.begin("a", ask, 0.0), 0.1)
    went = []
    for _ in range(8):
        went.append(chosen(router, ask).engine)
        router.begin(went[-1], ask, 1.0)
    assert "".join(went).startswith("aaab")
    assert abs(router.in_flight("a") - router.in_flight("b")) <= 2


def test_balanced_takes_the_longer_of_two_prefixes() -> None:
    router = routed("balanced", engine("a"), engine("b"), engine("c"))
    router.begin("a", Ask("m", CHAIN[:10]), 0.0)
    router.begin("b", Ask("m", CHAIN[:30]), 0.0)
    decision = chosen(router, Ask("m", CHAIN, 4000))
    assert decision.engine == "b"
    assert decision.matched_tokens > 0
    assert decision.reason.startswith("prefix ")


@pytest.mark.parametrize("pressure", [{"kv_utilisation": 0.95}, {"kv_utilisation": 0.5, "preemptions": 9.0}])
def test_balanced_follows_no_prefix_to_an_engine_short_of_cache(pressure: dict[str, float]) -> None:
    router = routed("balanced", engine("a", load=reading(0.0, preemptions=1.0)), engine("b"))
    router.end(router.begin("a", Ask("m", CHAIN), 0.0), 0.0)
    assert chosen(router, Ask("m", CHAIN)).engine == "a"
    router.update([engine("a", load=Load(at=0.5, **pressure)), engine("b")])  # type: ignore[arg-type]
    assert chosen(router, Ask("m", CHAIN)).engine == "b"


def test_a_negative_priority_sees_a_tighter_window() -> None:
    router = routed("balanced", engine("a", load=reading(1.0, running=1.5)), engine("b", load=reading(1.0)))
    router.learned("a", CHAIN)
    assert chosen(router, Ask("m", CHAIN)).engine == "a"
    assert chosen(router, Ask("m", CHAIN, priority=-1)).engine == "b"


@pytest.mark.parametrize("policy", ["balanced", "session"])
def test_workers_that_share_nothing_agree_on_a_session(policy: str) -> None:
    for i in range(20):
        ask = Ask("m", session=f"s{i}")
        one, other = (chosen(routed(policy, *(engine(n) for n in "abcd")), ask, c) for c in (0.1, 0.9))
        assert one.engine == other.engine


def test_workers_agree_on_a_prompt_while_engines_are_idle() -> None:
    for i in range(20):
        ask = Ask("m", chain=(i * 7919, i))
        one, other = (chosen(routed("balanced", *(engine(n) for n in "abcd")), ask, c) for c in (0.1, 0.9))
        assert one.engine == other.engine


def test_an_engine_that_leaves_moves_only_its_own_sessions() -> None:
    seeds = [key_of(n) for n in "abcde"]
    before = [preferred(key_of(f"s{i}"), seeds, range(5)) for i in range(1000)]
    after = [preferred(key_of(f"s{i}"), seeds, range(4)) for i in range(1000)]
    assert all(x == y for x, y in zip(before, after, strict=True) if x != 4)
    assert all(150 <= n <= 250 for n in Counter(before).values())


def test_the_cheapest_with_room() -> None:
    full = reading(1.0, waiting=3.0)
    router = routed("lowest_cost", engine("a", cost=1.0, load=full), engine("b", cost=2.0), engine("c", cost=3.0))
    assert chosen(router, Ask("m")).engine == "b"
    router.update([engine("a", cost=1.0, load=full), engine("b", cost=2.0, load=reading(1.0, waiting=9.0))])
    assert chosen(router, Ask("m")).engine == "a"


def test_an_adapter_gathers_where_it_is_in_use() -> None:
    more = {"models": frozenset({"m", "lora"}), "adapters": frozenset({"lora"})}
    router = routed("balanced", engine("a", **more), engine("b", load=reading(1.0, adapters=("lora",)), **more))
    assert {chosen(router, Ask("lora"), c / 10).engine for c in range(10)} == {"b"}
    assert {chosen(router, Ask("m"), c / 10).engine for c in range(10)} == {"a", "b"}


def test_weights_decide_what_counts() -> None:
    engines = [engine("a", cost=1.0, load=reading(1.0, running=9.0)), engine("b", cost=5.0)]
    assert chosen(routed("weighted", *engines, weights={"cost": 1.0}), Ask("m")).engine == "a"
    assert chosen(routed("weighted", *engines, weights={"load": 1.0}), Ask("m")).engine == "b"


IDS = list(range(640))
TOKENS = token_chain(IDS, 16)


def test_events_tell_a_precise_router_of_those_that_tell_all() -> None:
    router = routed("balanced", engine("a"), engine("b"), precise=True)
    for name in "ab":
        router.told(name, (), (), whole=True)
    ask = Ask("m", CHAIN, 640, tokens=TOKENS)
    router.end(router.begin("a", ask, 0.0), 0.1)
    assert chosen(router, ask).matched_tokens == 0, "what was sent there is for the engine to tell"
    router.told("b", TOKENS[:30], (), whole=True)
    decision = chosen(router, ask)
    assert (decision.engine, decision.matched_tokens) == ("b", 30 * 16)
    assert router.explain(decision)["index"] == "precise"
    router.told("b", (), TOKENS[10:30], whole=True)
    assert chosen(router, ask).matched_tokens == 160
    router.cleared("b", empty=True)
    assert chosen(router, ask).matched_tokens == 0


def test_a_prompt_on_its_way_is_taken_to_be_cached() -> None:
    """An engine tells of blocks when they are computed, and others with the same prompt come before that."""
    router = routed("balanced", engine("a"), engine("b"), precise=True)
    for name in "ab":
        router.told(name, (), (), whole=True)
    ask = Ask("m", CHAIN, 640, tokens=TOKENS)
    lease = router.begin("b", ask, 0.0)
    assert chosen(router, ask).engine == "b"
    assert chosen(router, ask).matched_tokens == 640
    router.end(lease, 0.1)
    assert chosen(router, ask).matched_tokens == 0


def test_an_engine_that_does_not_tell_all_is_guessed_at() -> None:
    router = routed("balanced", engine("a"), engine("b"), precise=True)
    router.told("a", TOKENS[:4], (), whole=True)
    ask = Ask("m", prompt_chain(bytes(4 * 640), 256, "m"), 640, tokens=TOKENS)
    router.end(router.begin("b", ask, 0.0), 0.1)
    decision = chosen(router, ask)
    assert decision.engine == "b", "what was sent there is all that is known of it"
    assert decision.matched_tokens == 640 - 640 % 64
    router.cleared("b", empty=False)
    assert chosen(router, ask).engine == "b", "events were lost, and its cache is what it was"
    router.cleared("b", empty=True)
    decision = chosen(router, ask)
    assert (decision.engine, decision.matched_tokens) == ("a", 64)
    router.told("b", TOKENS[:8], (), whole=False)
    assert chosen(router, ask).matched_tokens == 128


def test_without_token_ids_what_was_sent_where_decides() -> None:
    router = routed("balanced", engine("a"), engine("b"), precise=True)
    router.told("a", TOKENS, (), whole=True)
    known = Ask("m", CHAIN, 640, tokens=TOKENS)
    router.end(router.begin("b", known, 0.0), 0.1)
    decision = chosen(router, Ask("m", CHAIN, 640, lookup="late"))
    assert decision.engine == "b"
    told = router.explain(decision)
    assert (told["index"], told["lookup"]) == ("approximate", "late")


def test_an_engine_that_left_has_told_nothing() -> None:
    router = routed("balanced", engine("a"), engine("b"), precise=True)
    router.told("b", TOKENS, (), whole=True)
    ask = Ask("m", CHAIN, 640, tokens=TOKENS)
    lease = router.begin("b", ask, 0.0)
    router.update([engine("a")])
    router.update([engine("a"), engine("b")])
    assert chosen(router, ask).matched_tokens == 0
    router.end(lease, 0.2)
    router.told("nobody", TOKENS, (), whole=True)
    assert chosen(router, ask).matched_tokens == 0


def held_up(**more: object) -> Router:
    """Engine a knows CHAIN and has four requests more than b, each of about 100 tokens."""
    router = routed("balanced", engine("a"), engine("b"), **more)
    for _ in range(200):
        for name in "ab":
            router.end(router.begin(name, Ask("m", (), 60, 40), 0.0), 0.0)
    router.learned("a", CHAIN)
    for _ in range(4):
        router.begin("a", Ask("m", (), 60, 40), 0.5)
    return router


def test_a_long_prefix_is_waited_for_when_its_engine_is_busy_by_chance() -> None:
    decision = chosen(held_up(), Ask("m", CHAIN, 4000, 40))
    assert decision.engine == "a"
    assert "worth the wait" in decision.reason


def test_a_short_prefix_is_not() -> None:
    assert chosen(held_up(), Ask("m", CHAIN[:1], 80, 40)).engine == "b"


def test_a_prefix_that_fills_its_engine_is_taught_to_another() -> None:
    """Even where reading it anew would take longer than the requests ahead."""
    router = held_up()
    went = []
    for _ in range(20):
        decision = chosen(router, Ask("m", CHAIN, 4000, 40))
        went.append(decision.engine)
        router.begin(decision.engine, Ask("m", CHAIN, 4000, 40), 1.0, decision)
    assert went[0] == "a"
    assert 5 <= went.count("b") <= 15, went


def test_a_detour_has_its_bound() -> None:
    assert chosen(held_up(detour=0.5), Ask("m", CHAIN, 4000, 40)).engine == "b"


def test_new_prefixes_spread_over_engines_while_all_are_idle() -> None:
    """Sessions that come one by one would else meet on one engine by chance."""
    router = routed("balanced", *(engine(n) for n in "abcd"))
    counts: Counter[str] = Counter()
    for number in range(200):
        ask = Ask("m", chain=(number * 7919 + 1,), prompt_tokens=64)
        decision = chosen(router, ask)
        counts[decision.engine] += 1
        router.end(router.begin(decision.engine, ask, 1.0, decision), 1.0)
    assert max(counts.values()) <= 1.3 * 50, counts


def test_equal_holders_take_turns() -> None:
    router = routed("balanced", *(engine(n) for n in "abcd"))
    for name in "abcd":
        router.learned(name, CHAIN)
    ask = Ask("m", CHAIN, 400)
    counts: Counter[str] = Counter()
    for _ in range(100):
        decision = chosen(router, ask)
        counts[decision.engine] += 1
        router.end(router.begin(decision.engine, ask, 1.0, decision), 1.0)
    assert max(counts.values()) - min(counts.values()) <= 1, counts
