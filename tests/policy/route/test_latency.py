"""Latency prediction: learns a line, stands nonsense, follows change."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.policy.route.claims import Busy, Claims
from penstock.policy.route.facts import Ask, Lease
from penstock.policy.route.latency import Predictor
from penstock.policy.route.regression import Regression
from penstock.policy.route.router import Router
from penstock.policy.route.settings import RouteSettings
from tests.policy.route.fleets import PROPERTY, engine

ANY = st.floats(allow_nan=True, allow_infinity=True)


def taught(slope: float, samples: int, seed: int, into: Regression | None = None) -> Regression:
    rng = random.Random(seed)
    line = into or Regression(3, 0.98)
    for _ in range(samples):
        x = (1.0, rng.uniform(0, 10), rng.uniform(0, 4))
        line.learn(x, max(0.0, 0.05 + slope * x[1] + 0.2 * x[2] + rng.gauss(0, 0.005)))
    return line


def test_it_learns_a_line() -> None:
    line = taught(0.03, 200, 1)
    assert line.predict((1.0, 5.0, 2.0)) == pytest.approx(0.6, rel=0.05)


def test_it_follows_a_change() -> None:
    line = taught(0.03, 300, 1)
    taught(0.12, 300, 2, line)
    assert line.predict((1.0, 5.0, 2.0)) == pytest.approx(1.05, rel=0.1)


def test_one_outlier_changes_little() -> None:
    line = taught(0.03, 200, 1)
    line.learn((1.0, 5.0, 2.0), 60.0)
    assert line.predict((1.0, 5.0, 2.0)) == pytest.approx(0.6, rel=0.2)


def test_the_same_input_for_hours_does_not_unsettle_it() -> None:
    line = taught(0.03, 100, 1)
    for _ in range(5000):
        line.learn((1.0, 5.0, 2.0), 0.6)
    line.learn((1.0, 6.0, 2.0), 0.63)
    assert line.predict((1.0, 5.0, 2.0)) == pytest.approx(0.6, rel=0.1)


def test_few_samples_give_the_mean_and_none_nothing() -> None:
    line = Regression(3, 0.98)
    assert line.predict((1.0, 1.0, 1.0)) is None
    line.learn((1.0, 1.0, 1.0), 2.0)
    line.learn((1.0, 2.0, 1.0), 4.0)
    assert line.predict((1.0, 900.0, 1.0)) == pytest.approx(3.0)


@PROPERTY
@given(samples=st.lists(st.tuples(st.tuples(ANY, ANY), ANY), max_size=60), asked=st.tuples(ANY, ANY))
def test_predictions_are_times_whatever_was_learnt(
    samples: list[tuple[tuple[float, float], float]], asked: tuple[float, float]
) -> None:
    line = Regression(2, 0.95)
    for x, y in samples:
        line.learn(x, y)
    told = line.predict(asked)
    sane = [y for x, y in samples if 0 <= y < 1e6 and all(-1e6 < v < 1e6 for v in x)]
    assert (told is None) == (not sane)
    assert told is None or 0.0 <= told <= 2 * max(sane) + 1e-9


def test_the_policy_prefers_the_engine_that_was_quick() -> None:
    router = Router(RouteSettings(policy="predicted_latency"))
    router.update([engine("quick"), engine("slow")])
    rng = random.Random(3)
    ask = Ask("m", prompt_tokens=500, output_tokens=100)
    for index in range(120):
        now = index * 0.1
        for name, ttft in (("quick", 0.1), ("slow", 0.5)):
            lease = router.begin(name, ask, now)
            router.end(lease, now + 0.05)
            router.learn(lease, now + 0.05, ttft_s=ttft + rng.uniform(0, 0.02), tpot_s=ttft / 10, prompt_tokens=500)
    decision = router.choose(ask, 20.0, 0.0)
    assert decision is not None
    assert decision.engine == "quick"
    assert "predicted" in decision.reason


def crowding(part: float, others: list[int]) -> float:
    """What is learnt where every other busy engine adds `part` to a request's time alone, and so many are, in turn."""
    predictor, rng, busy, ask = Predictor(0.98), random.Random(1), Busy(), Ask("m", (), 100, 20)
    engines = [Claims(busy) for _ in range(4)]
    now = 0.0
    for number in range(200):
        now += 10.0
        beside = others[number % len(others)]
        leases = [Lease("a", 120, ask, now, busy=beside + 1) for _ in range(beside + 1)]
        for claims, lease in zip(engines, leases, strict=False):
            claims.take(lease, now)
        slower = (1 + part * beside) * rng.lognormvariate(0, 0.1)
        end = now + 0.1 * slower + 20 * 0.01 * slower
        for claims, lease in zip(engines, leases, strict=False):
            claims.give(lease, end)
            lease.ended, lease.until = True, end
        predictor.learn(leases[0], engines[0], end, 0.1 * slower, 0.01 * slower, 100, 0)
    return predictor.crowding


def test_engines_that_slow_each_other_down_are_told_from_those_that_do_not() -> None:
    assert crowding(0.0, [0, 1, 2, 3]) < 0.03
    usual = 1 + 0.25 * 1.5
    assert crowding(0.25, [0, 1, 2, 3]) == pytest.approx(0.25 / usual, rel=0.15)


def test_where_as_many_are_always_busy_nothing_is_said_of_what_they_cost() -> None:
    """It is in the constant, and a guess of which part of it would be made of nothing."""
    assert crowding(0.25, [2]) < 0.03
