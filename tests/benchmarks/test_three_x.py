"""The pure parts of the proofs `three_x` and `knee`."""

import xml.etree.ElementTree as ElementTree
from math import inf, log
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.bench import dossier, knee, queue, sweep, three_x
from benchmarks.bench.equal import STEP, Point, crossing, next_rate, ratio, sides
from benchmarks.bench.stand import tried
from benchmarks.bench.support import Deck, poisson, questions
from benchmarks.bench.sweep import Interval, Judged
from penstock.bench.sample import Ending, Sample
from penstock.bench.traffic.prompts import Prompts

# -- throughput at an equal p95 ---------------------------------------------------------------------------------------


@given(st.floats(0.1, 100), st.floats(0.1, 10), st.floats(0.5, 10))
def test_the_rate_at_the_bound_is_found_on_a_curve_that_rises(knee: float, start: float, bound: float) -> None:
    """p95 is the bound times (rate / knee)^2: a line in logarithms, so the crossing is exact."""
    points: list[Point] = []
    while (rate := next_rate(points, knee * start, bound, 20)) is not None:
        points.append(Point(rate, bound * (rate / knee) ** 2))
    assert crossing(points, bound) == pytest.approx(knee)
    below, above = sides(points, bound)
    assert below is not None
    assert above is not None
    assert above.rate <= below.rate * STEP * 1.01
    assert len(points) <= 9


def test_a_search_near_the_bound_takes_two_trials() -> None:
    assert next_rate([Point(1.0, 2.0)], 1.0, 3.0, 7) == STEP
    assert next_rate([Point(1.0, 4.0)], 1.0, 3.0, 7) == 1 / STEP
    assert next_rate([Point(1.0, 2.0), Point(STEP, 4.0)], 1.0, 3.0, 7) is None


def test_a_search_that_stays_on_one_side_has_no_crossing_and_ends() -> None:
    points: list[Point] = []
    while (rate := next_rate(points, 1.0, 3.0, 4)) is not None:
        points.append(Point(rate, 1.0))
    assert len(points) == 4
    assert crossing(points, 3.0) is None
    assert crossing([Point(1.0, 2.0), Point(STEP, inf)], 3.0) == 1.0


def test_a_lucky_trial_above_a_failed_one_does_not_count() -> None:
    points = [Point(1.0, 2.0), Point(1.25, 4.0), Point(1.5, 2.9)]
    assert crossing(points, 3.0) == crossing(points[:2], 3.0)
    assert crossing([Point(1.25, 4.0), Point(1.5, 2.9)], 3.0) is None


def test_the_ratio_is_of_rounds_and_its_interval_holds_the_ratios_of_equal_rounds() -> None:
    found = ratio([{"a": 6.0, "b": 2.0}, {"a": 8.0, "b": 2.0}, {"a": 4.5, "b": 1.5}], "a", "b")
    assert found is not None
    assert found.value == pytest.approx((3 * 4 * 3) ** (1 / 3))
    # t(2 degrees of freedom, 95 %) = 4.3027; standard error of the logarithms by hand.
    assert log(found.high / found.value) == pytest.approx(4.3027 * log(4 / 3) / 3, rel=1e-4)
    assert ratio([{"a": 6.0, "b": None}], "a", "b") is None
    assert ratio([{"a": 6.0, "b": 2.0}], "a", "b") == (pytest.approx(3.0), 0.0, inf)


def test_a_faster_trial_has_the_requests_of_a_slower_one_and_each_question_is_asked_once() -> None:
    slow, fast = poisson(1.0, 40.0, 3), poisson(2.0, 40.0, 3)
    assert (len(slow), len(fast)) == (40, 80)
    assert set(slow) < set(fast)
    assert fast == sorted(fast)
    assert poisson(1.0, 40.0, 4) != slow
    decks = [Deck(questions("m", Prompts(None))) for _ in range(2)]
    dealt, others = (
        [each for trial in (slow, fast) for each in deck.deal((a.kind, a.due) for a in trial)] for deck in decks
    )
    assert [each.due for each in dealt] == [each.due for each in (*slow, *fast)]
    assert len({each.body for each in dealt}) == 120
    assert len({each.body[:2000] for each in dealt}) == len({each.kind for each in dealt}) == 4
    assert [each.body for each in others] == [each.body for each in dealt]


def sample(number: int, seconds: float, ending: Ending = Ending.OK) -> Sample:
    return Sample(number, 0, number, number, number + seconds / 2, 0.0, number + seconds, ending, input_tokens=100)


def test_a_trial_counts_failures_as_infinitely_late() -> None:
    whole = [sample(number, 1 + number / 100) for number in range(40)]
    assert tried("naive", 0, 1.0, whole, "").point == Point(1.0, 1.37)
    two = [*whole[:38], *(sample(number, 0.1, Ending.STATUS) for number in (38, 39))]
    assert tried("naive", 0, 1.0, two, "").point == Point(1.0, 1.37)
    three = [*two[:37], sample(37, 0.1, Ending.STATUS), *two[38:]]
    found = tried("naive", 0, 1.0, three, "")
    assert (found.point.p95, found.p95, found.failed) == (inf, -1.0, 3)


def measured(rounds: int = 2) -> dict[str, Any]:
    def trial(setup: str, number: int, rate: float, p95: float) -> dict[str, Any]:
        return {
            "setup": setup, "round": number, "rate": rate, "p50": p95 / 2, "p95": p95, "ttft_p50": 0.2, "failed": 0,
            "cached_share": 0.5, "invalid": "", "samples": [[0, 1, 2, 1]],
        }  # fmt: skip

    return {
        "bound_s": 4.0, "lone_s": 2.0, "seconds": 40.0,
        "knees": [{"naive": 0.5, "optimised": 2.0 + number / 10} for number in range(rounds)],
        "trials": [
            trial(name, number, rate, rate)
            for number in range(rounds) for name in ("naive", "optimised") for rate in (1.0, 1.25)
        ],
        "steps": [trial(setup.name, 0, 1.0, 9.0) for setup in three_x.STEPS],
    }  # fmt: skip


def document(rounds: int = 2) -> dict[str, Any]:
    proof = three_x.judged(measured(rounds), "tiny")
    return {
        "when": "2026-01-02T03:04:05+00:00", "machine": {"cpu": "Abacus", "cores": 2, "kernel": "6", "python": "3.11"},
        "bars": [bar.as_json() for bar in proof.bars], "figures": proof.figures, "raw": proof.raw,
    }  # fmt: skip


def test_the_bar_tells_the_ratio_its_interval_and_both_rates() -> None:
    (bar,) = three_x.judged(measured(), "tiny").bars
    assert bar.value == pytest.approx(4.1, abs=0.01)
    assert bar.holds
    assert "0.50/s naive, 2.05/s optimised; 2 rounds" in bar.why
    assert "no interval" in three_x.judged(measured(1), "tiny").bars[0].why
    none = three_x.judged({**measured(), "knees": [{"naive": None, "optimised": 1.0}], "steps": []}, "tiny")
    assert none.bars[0].value is None
    assert "no round" in none.bars[0].why


@pytest.mark.parametrize("rounds", [1, 2])
def test_the_dossier_tells_what_was_measured(rounds: int) -> None:
    page = dossier.page(document(rounds))
    assert "Abacus, 2 cores" in page
    assert "p95 at 4.00 s" in page
    assert "inf " not in page
    assert "| naive | one request at a time" in page
    assert page.count("| ratio |") == 1
    root = ElementTree.fromstring(dossier.plot(document(rounds)))
    assert root.tag == "{http://www.w3.org/2000/svg}svg"


# -- the knee ---------------------------------------------------------------------------------------------------------


def test_the_knee_of_a_sweep_is_between_what_all_passed_and_what_all_failed() -> None:
    def swept(*verdicts: str) -> Interval:
        return sweep.knee([Judged(float(rate), each == "+") for rate, both in enumerate(verdicts, 1) for each in both])

    assert swept("++", "++", "--", "--") == (2.0, 3.0)
    assert swept("++", "+-", "++", "--") == (1.0, 4.0)
    assert swept("+-", "--") == (0.0, 2.0)
    assert swept("++", "-+") == (1.0, inf)
    assert sweep.grid(10.0, 5) == [5.0, 7.5, 10.0, 12.5, 15.0]


def test_intervals_touch_or_lie_apart() -> None:
    assert Interval(1, 2).gap(Interval(2, 3)) == 0
    assert Interval(1, 2).gap(Interval(2.5, 3)) == Interval(2.5, 3).gap(Interval(1, 2)) == 0.5
    assert Interval(2, 8).middle == 4
    assert Interval(2, inf).middle == 2
    assert Interval(0, 8).middle == 8
    assert sweep.distance(4.0, Interval(3, 5), 6.0) == 2
    assert sweep.distance(4.0, Interval(3, inf), 6.0) is None


def test_one_slot_serves_in_turn_and_four_side_by_side() -> None:
    assert list(queue.times([0.0, 1.0, 1.5], queue.Slots(1, 2.0))) == [2.0, 3.0, 4.5]
    assert list(queue.times([0.0, 1.0, 1.5], queue.Slots(4, 2.0))) == [2.0, 2.0, 2.0]


def test_the_simulated_knee_is_that_of_theory() -> None:
    """One slot is free with probability 1 - rate x holds: half of the requests do not wait at 5 per second."""
    assert queue.knee(1, 0.1, 0.1001, 0.5, 100.0) == pytest.approx(5.0, rel=0.03)


def test_the_simulated_knee_falls_with_the_share_and_rises_with_the_bound() -> None:
    rates = [queue.knee(2, 0.1, bound, share, 5.0) for bound, share in ((0.15, 0.9), (0.3, 0.9), (0.3, 0.6))]
    assert rates == sorted(rates)


def answer(low: float, high: float | None, rate: float) -> dict[str, Any]:
    return {"knee": {"rate": rate, "low": low, "high": high, "why": ""}, "trials": []}


def test_the_knee_holds_when_the_intervals_overlap() -> None:
    rows = [{"rate": rate, "passes": rate < 10, "invalid": ""} for rate in (6.0, 9.0, 12.0)]
    real = {"saturate": answer(8.0, 10.0, 9.0), "sweep": rows, "slo_s": 1.0, "lone_s": 0.3, "seconds": 10.0}
    near, known = knee.judged(real, answer(60.0, 80.0, 70.0), 71.0).bars
    assert near.holds
    assert known.holds
    assert "-1.4% off" in known.why
    far, off = knee.judged({**real, "saturate": answer(3.0, 4.5, 4.0)}, answer(60.0, None, 70.0), 50.0).bars
    assert (far.value, far.holds) == (1.125, False)
    assert (off.value, off.holds) == (0.2, False)
