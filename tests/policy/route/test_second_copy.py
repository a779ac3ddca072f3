"""A prefix whose engine is busy while another is idle: shared until that has cost as much as a second copy does."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.policy.route.facts import Ask, Decision
from penstock.policy.route.regrets import Regrets
from penstock.policy.route.router import Router
from penstock.policy.route.settings import RouteSettings
from tests.policy.route.clients import means
from tests.policy.route.cores import on_cores
from tests.policy.route.fleets import PROPERTY, engine, reading

CHAIN = tuple(range(1, 17))
ASK = Ask("m", CHAIN, 1024, 100)
READ_S = 0.5
"""To read the prompt of ASK anew."""


def taught(company: float, samples: int = 72, engines: str = "ab", joined: bool = True) -> Router:
    """Every engine has answered so many streams, alone and beside others: each one beside slows a token by `company`
    of the 5 ms that it takes alone."""
    router = Router(RouteSettings())
    router.update([engine(name) for name in engines])
    for name in engines:
        for number in range(samples):
            now = float(number - samples)
            beside = [router.begin(name, Ask("m", (), 64, 16), now) for _ in range(number % 3)]
            lease = router.begin(name, Ask("m", (), 1024, 100), now)
            cached = 1024 * (number // 3 % 2)
            ttft_s = 0.01 + READ_S * (1024 - cached) / 1024
            tpot_s = 0.005 * (1 + company * len(beside))
            router.learn(lease, now, ttft_s=ttft_s, tpot_s=tpot_s, prompt_tokens=1024, cached_tokens=cached)
            for each in (lease, *beside):
                router.end(each, now)
    router.end(router.begin("a", ASK, 1.0), 1.1)
    if joined:
        router.begin("a", ASK, 2.0)
    return router


def answered(router: Router, name: str, slower: float) -> None:
    """The engine has answered prompts that it had to read, taking so many times as long as `taught` says."""
    for number in range(12):
        lease = router.begin(name, Ask("m", (), 512 + 64 * (number % 4), 100), 0.0)
        read = 512 + 64 * (number % 4)
        ttft_s, tpot_s = slower * (0.01 + READ_S * read / 1024), slower * 0.005
        router.end(lease, 0.0)
        router.learn(lease, 0.0, ttft_s=ttft_s, tpot_s=tpot_s, prompt_tokens=read, cached_tokens=0)


def decided(router: Router, ask: Ask = ASK) -> Decision:
    decision = router.choose(ask, 3.0, 0.0)
    assert decision is not None
    return decision


def until_copied(router: Router, most: int = 100) -> int:
    """Requests decided, one after another and each beside the one that `a` has, up to the first that goes elsewhere."""
    for number in range(1, most + 1):
        decision = decided(router)
        router.end(router.begin(decision.engine, ASK, 3.0, decision), 3.1)
        if decision.engine != "a":
            return number
    return most


def test_where_company_costs_more_than_reading_anew_the_idle_engine_reads_at_once() -> None:
    decision = decided(taught(company=2.0))
    assert decision.engine == "b"
    assert decision.reason.startswith("idle, reads the prefix: ")
    assert decision.matched_tokens == 0


def test_where_company_is_cheap_the_prefix_is_shared_until_that_has_cost_as_much() -> None:
    """0.15 s each time, of the request and of the one beside; to read it takes 0.5 s."""
    assert until_copied(taught(company=0.15)) in (3, 4)


def test_where_company_costs_nothing_a_prefix_is_still_read_twice_when_it_was_shared_often() -> None:
    """Alone and with the prefix a request takes 0.51 s, and a quarter of that is charged from the second time on."""
    assert until_copied(taught(company=0.0)) in (5, 6)


@pytest.mark.parametrize("company", [0.0, 0.1])
def test_a_conversation_is_another_prefix_each_turn(company: float) -> None:
    router = taught(company)
    for turn in range(16, 60):
        said = tuple(range(1, turn + 1))
        decision = decided(router, Ask("m", said, 64 * turn, 100))
        assert decision.engine == "a", turn
        router.end(router.begin("a", Ask("m", said, 64 * turn, 100), 3.0, decision), 3.1)


@pytest.mark.parametrize("samples", [0, 9])
def test_nothing_is_guessed_before_enough_is_learnt(samples: int) -> None:
    assert decided(taught(company=2.0, samples=samples)).engine == "a"


def test_an_idle_engine_of_which_nothing_is_known_gets_a_copy() -> None:
    router = taught(company=2.0, engines="a")
    router.update([engine("a"), engine("b")])
    assert decided(router).engine == "b"


def test_what_an_idle_engine_has_not_seen_is_not_held_against_it() -> None:
    """It has answered prompts that it had to read, and none that it had: what a cached one takes is not known."""
    router = taught(company=0.15, engines="a")
    router.update([engine("a"), engine("b")])
    answered(router, "b", slower=1.3)
    assert until_copied(router) in (3, 4)


@pytest.mark.parametrize(("slower", "copied"), [(1.5, True), (3.0, False)])
def test_an_idle_engine_that_is_known_to_be_slow_gets_no_copy(slower: float, copied: bool) -> None:
    router = taught(company=2.0, engines="a")
    router.update([engine("a"), engine("b")])
    answered(router, "b", slower)
    assert (decided(router).engine == "b") is copied


def test_company_that_comes_later_is_company() -> None:
    """A request that begins alone and is then joined does not teach that an engine to itself is slow."""
    router = Router(RouteSettings())
    router.update([engine("a"), engine("b")])
    now = 0.0
    for number in range(30):
        joined, cached = number % 2 > 0, 1024 * (number // 2 % 2)
        ttft_s = 0.01 + READ_S * (1024 - cached) / 1024
        lease = router.begin("a", Ask("m", (), 1024, 100), now)
        beside = [router.begin("a", Ask("m", (), 64, 16), now + ttft_s)] if joined else []
        tpot_s = 0.005 * (1 + 0.8 * joined)
        now += ttft_s + 100 * tpot_s
        for each in (lease, *beside):
            router.end(each, now)
        router.learn(lease, now, ttft_s=ttft_s, tpot_s=tpot_s, prompt_tokens=1024, cached_tokens=cached)
        now += 1.0
    router.end(router.begin("a", ASK, now), now + 0.1)
    router.begin("a", ASK, now + 1.0)
    decision = router.choose(ASK, now + 2.0, 0.0)
    assert decision is not None
    assert decision.engine == "b"
    assert decision.numbers[1] == pytest.approx(0.8, rel=0.1), "company: 100 tokens by 4 ms, of both"


def test_company_that_came_past_this_router_is_company() -> None:
    """The engine tells of a request, and none of ours is there."""
    router = taught(company=0.8, joined=False)
    router.update([engine("a", load=reading(2.5, running=1.0)), engine("b", load=reading(2.5, running=0.0))])
    decision = decided(router)
    assert decision.engine == "b"
    assert decision.numbers[1] == pytest.approx(0.8, rel=0.1), "100 tokens by 4 ms, twice"


def test_of_idle_engines_the_one_with_most_of_the_prefix() -> None:
    router = taught(company=2.0, engines="abc")
    router.learned("c", CHAIN[:8])
    assert decided(router).engine == "c"


def test_an_engine_with_a_request_is_not_idle() -> None:
    router = taught(company=2.0)
    router.begin("b", Ask("m", (), 64, 16), 2.0)
    assert decided(router).engine == "a"


def test_an_idle_holder_keeps_its_prefix_whatever_was_learnt() -> None:
    router = taught(company=2.0)
    router.learned("b", CHAIN)
    decision = decided(router)
    assert decision.engine == "b"
    assert decision.reason.startswith("prefix ")
    assert "anew" not in decision.reason


@PROPERTY
@given(company=st.floats(0.02, 2.0), output=st.integers(50, 400))
def test_a_copy_is_made_when_sharing_has_cost_as_much_as_reading(company: float, output: int) -> None:
    router = taught(company)
    each = 2 * 0.005 * company * output
    least = 0.25 * (0.01 + 0.005 * output)
    shared = 0.0
    ask = Ask("m", CHAIN, 1024, output)
    for _ in range(200):
        decision = decided(router, ask)
        if decision.engine == "b":
            assert shared + each >= 0.8 * READ_S
            return
        router.end(router.begin("a", ask, 3.0, decision), 3.0)
        shared += each
        each = max(each, least)
    assert shared < 1.25 * READ_S, "never copied"


def test_a_decision_that_no_request_follows_is_charged_to_nobody() -> None:
    """Whether there is another engine to retry on is found by deciding, too."""
    router = taught(company=0.15)
    for _ in range(3):
        decided(router)
    assert until_copied(router) in (3, 4)


def test_accounts_are_kept_apart_and_bounded() -> None:
    regrets = Regrets()
    regrets.book(1, 0.6)
    regrets.book(2, 0.7)
    assert (regrets.owed(1), regrets.owed(2), regrets.owed(3)) == (0.6, 0.7, None)
    regrets.book(1, 0.0)
    assert regrets.owed(1) == 0.0
    for other in range(10, 5000):
        regrets.book(other, 0.6)
    assert regrets.owed(2) is None, "long ago"


def test_prompts_that_all_want_come_to_both_engines_and_cost_little_until_then() -> None:
    """Always to take the idle engine, as `power_of_two` does, is the best that can be done here."""
    default, best = means("balanced", 288, 20), means("power_of_two", 288, 20)
    print(default, best)
    assert best.shared < 1
    assert default.anew < 1.1 * best.anew
    assert default.shared < 20
    assert default.seconds < 1.015 * best.seconds


def crowded(part: float) -> Router:
    """Four engines have answered streams, with none to three of the others busy: each of those makes a request take
    by `part` longer. A request beside it costs nothing."""
    router = Router(RouteSettings())
    router.update([engine(name) for name in "abcd"])
    for number in range(192):
        now = float(number - 192)
        name, *others = (*"abcd"[number % 4 :], *"abcd"[: number % 4])
        busy = [router.begin(other, Ask("m", (), 64, 16), now) for other in others[: number // 4 % 4]]
        beside = [router.begin(name, Ask("m", (), 64, 16), now)] if number // 16 % 2 else []
        lease = router.begin(name, Ask("m", (), 1024, 100), now)
        cached = 1024 * (number // 32 % 2)
        slower = 1 + part * len(busy)
        ttft_s = (0.01 + READ_S * (1024 - cached) / 1024) * slower
        router.learn(lease, now, ttft_s=ttft_s, tpot_s=0.005 * slower, prompt_tokens=1024, cached_tokens=cached)
        for each in (lease, *busy, *beside):
            router.end(each, now)
    router.end(router.begin("a", ASK, 1.0), 1.1)
    for name in "accdd":
        router.begin(name, ASK if name == "a" else Ask("m", (), 64, 16), 2.0)
    return router


def test_engines_that_share_a_machine_pay_for_a_reading_together() -> None:
    """Five requests are in flight on three engines, and a fourth engine takes a quarter of the machine: what those lose
    is more than what the reading takes."""
    alone, together = until_copied(crowded(0.0)), until_copied(crowded(0.3))
    assert alone <= 6
    assert together >= 10


def test_requests_at_a_full_engine_lose_as_much_as_others() -> None:
    """It is no candidate, and those that it has wait as long for the machine."""
    counts = []
    for bound in (0, 2):
        router = crowded(0.3)
        router.update([engine(name, max_in_flight=bound if name in "cd" else 0) for name in "abcd"])
        counts.append(until_copied(router))
    assert counts[0] == counts[1]


def test_an_explanation_tells_what_busy_engines_cost_each_other() -> None:
    """0.3 of the time alone, by a mean of 1.5 others: of the usual time 0.2."""
    for part, crowding in ((0.0, 0.0), (0.3, 0.207)):
        router = crowded(part)
        assert router.explain(decided(router))["crowding"] == pytest.approx(crowding, abs=0.01)


def test_where_engines_share_cores_few_prompts_are_read_again() -> None:
    """To spread costs all of them; to wait costs the one. Where each has a core, all get all prompts."""
    shared, own = on_cores(2, "balanced", 288, 8), on_cores(4, "balanced", 288, 8)
    spread, best = on_cores(2, "power_of_two", 288, 8), on_cores(2, "prefix", 288, 8)
    print(shared, own, spread, best)
    assert shared.anew < 10
    assert shared.seconds < 0.98 * spread.seconds
    assert shared.seconds < 1.06 * best.seconds
    assert own.anew > 13
