"""Law 6: whatever comes in whatever order, when the last request ended nothing is in flight."""

from hypothesis import given
from hypothesis import strategies as st

from penstock.policy.route.facts import Ask, Lease
from penstock.policy.route.router import Router
from penstock.policy.route.settings import RouteSettings
from tests.policy.route.fleets import ASKS, NAMES, PROPERTY, engine

STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("begin"), st.sampled_from(NAMES), ASKS),
        st.tuples(st.just("end"), st.integers(0, 99), st.booleans()),
        st.tuples(st.just("update"), st.frozensets(st.sampled_from(NAMES)), st.none()),
    ),
    max_size=60,
)


@PROPERTY
@given(steps=STEPS)
def test_leases_return(steps: list[tuple[str, object, object]]) -> None:
    router = Router(RouteSettings())
    router.update([engine(name) for name in NAMES])
    leases: list[Lease] = []
    for now, (kind, what, more) in enumerate(steps):
        if kind == "begin":
            assert isinstance(what, str)
            assert isinstance(more, Ask)
            leases.append(router.begin(what, more, now))
        elif kind == "end" and leases:
            assert isinstance(what, int)
            lease = leases[what % len(leases)]
            router.end(lease, now)
            if more:
                router.learn(lease, now, ttft_s=0.1)
        elif kind == "update":
            assert isinstance(what, frozenset)
            router.update([engine(name) for name in sorted(what)])
        for name in NAMES:
            assert router.in_flight(name) == sum(not x.ended and x.engine == name for x in leases)
    for lease in leases + leases:
        router.end(lease, 1000.0)
    router.update([engine(name) for name in NAMES])
    assert [router.in_flight(name) for name in NAMES] == [0] * len(NAMES)
    assert [router.load(name) for name in NAMES] == [0.0] * len(NAMES)


def test_an_engine_that_comes_back_still_has_its_requests() -> None:
    router = Router(RouteSettings())
    router.update([engine("a"), engine("b")])
    lease = router.begin("a", Ask("m"), 0.0)
    router.update([engine("b")])
    router.update([engine("a"), engine("b")])
    assert router.in_flight("a") == 1
    assert router.load("a") == 1.0
    router.end(lease, 1.0)
    assert router.in_flight("a") == 0


def test_an_engine_that_left_is_forgotten() -> None:
    router = Router(RouteSettings())
    ask = Ask("m", chain=(1, 2, 3), prompt_tokens=90)
    router.update([engine("a"), engine("b")])
    router.end(router.begin("a", ask, 0.0), 0.1)
    router.update([engine("c"), engine("b")])
    decision = router.choose(ask, 1.0, 0.0)
    assert decision is not None
    assert decision.matched_tokens == 0
