"""Figures of samples: definitions to the letter, failures that stay in, intervals that hold."""

from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.bench.measure import moments
from penstock.bench.measure.bound import ADVICE, bound, explain
from penstock.bench.measure.figures import Slo, figures
from penstock.bench.measure.health import health
from penstock.bench.measure.quantile import interval, quantile
from penstock.bench.measure.timeline import timeline
from penstock.bench.sample import Ending, Sample, Series, Stage
from tests.bench.samples import run, sample

STAGE = Stage("s", 0.0, 10.0, 4)
FLOATS = st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=200)


@given(FLOATS, st.floats(0.001, 1.0))
def test_a_quantile_is_the_smallest_value_that_so_many_are_not_above(values: list[float], q: float) -> None:
    ordered = sorted(values)
    found = quantile(ordered, q)
    assert sum(value <= found for value in values) >= q * len(values) - 1e-6
    below = [value for value in ordered if value < found]
    assert not below or sum(value <= below[-1] for value in values) < q * len(values) + 1e-6


@pytest.mark.parametrize("q", [0.5, 0.9, 0.99])
def test_an_interval_holds_the_true_quantile_as_often_as_it_says(q: float) -> None:
    rng, inside, trials = Random(5), 0, 400
    for _ in range(trials):
        ordered = sorted(rng.random() for _ in range(1000))
        found = interval(ordered, q)
        assert found is not None
        inside += found[0] <= q <= found[1]
    assert inside / trials >= 0.92


def test_too_few_values_have_no_interval() -> None:
    assert interval([1.0, 2.0, 3.0], 0.99) is None


def test_definitions() -> None:
    made = sample(due=1.0, ttft=0.4, gap=0.1, tokens=5)
    made.sent = 1.1
    assert moments.ttft(made) == pytest.approx(0.4)
    assert moments.ttft_from_sent(made) == pytest.approx(0.3)
    assert moments.tpot(made) == pytest.approx(0.1)
    assert moments.tpot_with_first(made) == pytest.approx((0.3 + 0.4) / 5)
    assert moments.itl_mean(made) == pytest.approx(0.1)
    assert moments.e2e(made) == pytest.approx(0.8)
    assert moments.normalised(made) == pytest.approx(0.8 / 5)
    assert moments.lag(made) == pytest.approx(0.1)
    assert moments.tpot(sample(tokens=1)) is None
    assert moments.e2e(sample(ending=Ending.RESET)) is None
    assert moments.ttft(Sample(0, 0, 0.0, 0.0)) is None


def test_failures_stay_in_the_denominator_and_leavers_do_not() -> None:
    slo = Slo(ttft=0.2)
    own = [sample(0), sample(1, ttft=0.3), sample(2, ending=Ending.RESET), sample(3, ending=Ending.CANCELLED)]
    found = figures(STAGE, own, slo)
    assert (found.requests, found.ok, found.good, found.good_share) == (4, 2, 0.1, pytest.approx(1 / 3))
    assert found.endings == {"ok": 2, "reset": 1, "cancelled": 1}


def test_an_answer_of_one_token_is_not_judged_by_tpot() -> None:
    slo = Slo(tpot=0.001, ttft=0.2)
    assert slo.good(sample(tokens=1))
    assert not slo.good(sample(tokens=2))
    assert not Slo(e2e=0.15).good(sample())
    assert not Slo().asks


@given(st.permutations(range(12)))
def test_the_order_of_samples_does_not_matter(order: list[int]) -> None:
    own = [sample(number, ttft=0.05 * (number + 1), gap=0.01 * (number + 1)) for number in range(12)]
    assert figures(STAGE, [own[number] for number in order], Slo(ttft=0.3)) == figures(STAGE, own, Slo(ttft=0.3))


def test_classes_add_up_to_the_whole() -> None:
    own = [sample(number, kind="a" if number % 3 else "b") for number in range(30)]
    whole, a, b = (figures(STAGE, own, Slo(), kind) for kind in ("", "a", "b"))
    assert whole.requests == a.requests + b.requests == 30
    assert whole.output_rate == pytest.approx(a.output_rate + b.output_rate)


def test_a_client_that_lags_makes_a_run_invalid() -> None:
    late = [sample(number, due=float(number)) for number in range(100)]
    for each in late:
        each.sent = each.due + 0.05
    stages = [Stage("s", 0.0, 100.0, 0, 1.0)]
    assert "sent late" in health(stages, late, [(1.0, 100.0)]).invalid
    good = [sample(number, due=float(number)) for number in range(100)]
    assert health(stages, good, [(1.0, 100.0)]).invalid == ""
    assert "of a core" in health(stages, good, [(95.0, 100.0)]).invalid
    for each in good[50:]:
        each.sent += 5.0
    told = health(stages, good, [(1.0, 100.0)]).invalid
    assert "were due" in told
    assert "sent late" in told


def test_what_bounds_a_run() -> None:
    made = run(1)
    found = figures(made.stages[0], made.samples, Slo())
    assert bound(made, 0, found).what == "prefill"
    made.series[0].name = "kv_utilisation"
    made.series[0].values = [0.95, 0.97, 0.99]
    assert bound(made, 0, found).what == "KV cache"
    made.series[0].values = [0.2, 0.2, 0.2]
    for each in made.samples:
        each.queue_s = 0.09
    assert bound(made, 0, found).what == "gateway queue"
    slow = [sample(number, ttft=0.01, gap=0.1) for number in range(10)]
    made.samples = slow
    assert bound(made, 0, figures(made.stages[0], slow, Slo())).what == "decode"


def test_what_is_ruled_out_stands_beside_what_bounds() -> None:
    made = run(1)
    told = explain(made, 0, figures(made.stages[0], made.samples, Slo()))
    assert [each.what for each in told.candidates] == [
        "client", "KV cache", "gateway queue", "engine queue", "prefill", "decode",
    ]  # fmt: skip
    client, kv, queue, waiting, prefill, decode = (each.numbers for each in told.candidates)
    assert client["core_share"] == made.client.busiest
    assert kv == {"utilisation": None}, "no engine told, which is not 0"
    assert queue == {"queue_s": None, "share_of_ttft": None}
    assert waiting == {"waiting": None, "running": 3.0}
    assert (prefill["share"] or 0) + (decode["share"] or 0) == pytest.approx(1)
    assert told.advice == ADVICE["prefill"]


def test_a_stage_is_judged_by_its_own_requests_and_readings() -> None:
    made = run(1)
    made.stages = [Stage("a", 0.0, 10.0, 4), Stage("b", 10.0, 20.0, 4)]
    late = [sample(number, due=10.0 + number, queue_s=0.09, engine="e") for number in range(10)]
    for each in late:
        each.stage = 1
    made.samples += late
    made.series = [Series("kv_utilisation", "e", "share", [5.0, 15.0], [0.2, 0.95])]
    first, second = (
        explain(made, number, figures(stage, [each for each in made.samples if each.stage == number], Slo()))
        for number, stage in enumerate(made.stages)
    )
    assert (first.bound.what, second.bound.what) == ("prefill", "KV cache")
    assert second.candidates[1].numbers == {"utilisation": 0.95}
    assert second.candidates[2].applies, "it is told of, though another one comes first"
    assert first.candidates[2].numbers["share_of_ttft"] is None


def test_the_depth_of_a_queue_tells_how_long_requests_waited_in_it() -> None:
    """Little's law: 60 requests a minute leave a queue of 6, so each waited for 6 s."""
    made = run(1)
    made.stages = [Stage("s", 0.0, 60.0, 0, 1.0)]
    made.samples = [sample(number, due=float(number), ttft=8.0) for number in range(60)]
    times = [0.5 * number + more for number in range(120) for more in (0.0, 0.01)]
    made.series = [
        Series(
            "queue",
            "gateway",
            "requests",
            times,
            [2.0, 4.0] * 120,
        )
    ]
    queue = explain(made, 0, figures(made.stages[0], made.samples, Slo())).candidates[2]
    assert queue.numbers == {"queue_s": pytest.approx(6.0), "share_of_ttft": pytest.approx(0.75)}
    assert queue.applies


@given(st.lists(st.builds(sample, ttft=st.floats(0.001, 5), gap=st.floats(0.0001, 1), queue_s=st.floats(0, 5))))
def test_the_first_candidate_that_applies_bounds_and_every_bound_has_advice(own: list[Sample]) -> None:
    made = run(1)
    made.samples = own
    told = explain(made, 0, figures(made.stages[0], own, Slo()))
    applying = [each.what for each in told.candidates if each.applies]
    assert told.bound.what == (applying[0] if applying else "nothing")
    assert told.advice == ADVICE[told.bound.what]
    assert bool(own) == bool(applying)


def test_a_timeline_loses_nothing() -> None:
    own = [sample(number, due=0.1 * number, tokens=3 + number % 5) for number in range(200)]
    told = timeline(own, 50)
    assert len(told) == 50
    assert sum(each.sent for each in told) == sum(each.ended for each in told) == 200
    length = told[1].at - told[0].at
    assert sum(each.tokens for each in told) * length == pytest.approx(sum(each.output_tokens for each in own))
    assert max(each.in_flight for each in told) >= 1
    assert timeline([]) == []


def test_a_stage_is_bound_by_what_was_seen_in_it() -> None:
    made = run(1)
    end = made.stages[0].end
    made.stages = [made.stages[0], Stage("later", end + 1, end + 5, 4)]
    later = [sample(each, end + 1 + each / 20) for each in range(60)]
    for each in later:
        each.stage = 1
    made.samples += later
    made.series = [Series("kv_utilisation", "a", "share", [0.1, end - 0.1, end + 2, end + 3], [0.1, 0.2, 0.95, 1.0])]
    first, second = (
        figures(stage, [each for each in made.samples if each.stage == number], Slo())
        for number, stage in enumerate(made.stages)
    )
    assert bound(made, 0, first).what != "KV cache"
    assert bound(made, 1, second).what == "KV cache"
