"""A prefix whose engine is busy while another is idle: the learnt times weigh reading it anew against the company."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.policy.route.facts import Ask, Decision
from penstock.policy.route.router import Router
from penstock.policy.route.settings import RouteSettings
from tests.policy.route.fleets import PROPERTY, engine

CHAIN = tuple(range(1, 17))
ASK = Ask("m", CHAIN, 1024, 100)
READ_S = 0.5
"""To read the prompt of ASK anew."""


def taught(company: float, samples: int = 24, engines: str = "ab") -> Router:
    """Every engine has answered so many streams, alone and beside others: each one beside slows a token by `company`
    of the 5 ms that it takes alone."""
    router = Router(RouteSettings())
    router.update([engine(name) for name in engines])
    for name in engines:
        for number in range(samples):
            beside = [router.begin(name, Ask("m", (), 64, 16), 0.0) for _ in range(number % 3)]
            lease = router.begin(name, Ask("m", (), 1024, 100), 0.0)
            cached = 1024 * (number // 3 % 2)
            ttft_s = 0.01 + READ_S * (1024 - cached) / 1024
            tpot_s = 0.005 * (1 + company * len(beside))
            router.learn(lease, 0.0, ttft_s=ttft_s, tpot_s=tpot_s, prompt_tokens=1024, cached_tokens=cached)
            for each in (lease, *beside):
                router.end(each, 0.0)
    router.end(router.begin("a", ASK, 1.0), 1.1)
    router.begin("a", ASK, 2.0)
    return router


def decided(router: Router, ask: Ask = ASK) -> Decision:
    decision = router.choose(ask, 3.0, 0.0)
    assert decision is not None
    return decision


def test_where_company_costs_more_than_reading_anew_the_idle_engine_learns_the_prefix() -> None:
    decision = decided(taught(company=2.0))
    assert decision.engine == "b"
    assert decision.reason.startswith("prefix read anew, idle: ")
    assert decision.matched_tokens == 0


def test_where_company_is_cheap_the_prefix_stays() -> None:
    assert decided(taught(company=0.1)).engine == "a"


@pytest.mark.parametrize("samples", [0, 9])
def test_nothing_is_guessed_before_enough_is_learnt(samples: int) -> None:
    assert decided(taught(company=2.0, samples=samples)).engine == "a"


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
@given(company=st.floats(0, 4), output=st.integers(1, 1000))
def test_it_leaves_its_prefix_only_for_the_sooner_end(company: float, output: int) -> None:
    """By the true times, of which the learnt ones may be a tenth off."""
    decision = decided(taught(company), Ask("m", CHAIN, 1024, output))
    alone, shared = READ_S + 0.005 * output, 0.005 * (1 + company) * output
    if decision.engine == "b":
        assert alone < 1.1 * shared + 0.05
    else:
        assert shared < 1.1 * alone + 0.05
