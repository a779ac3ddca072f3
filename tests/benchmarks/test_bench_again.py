"""Baselines run again: the order of the runs, and what is said of the verdicts."""

from typing import Any

import pytest

from benchmarks.bench.again import CONTRACTS, interleaved, settled, told, verdicts
from penstock.cli.bench.options import contract_of


@pytest.mark.parametrize(("reruns", "slowed"), [(20, 10), (20, 0), (2, 1), (3, 7)])
def test_slowed_runs_lie_between_the_others(reruns: int, slowed: int) -> None:
    order = interleaved(reruns, slowed)
    assert (order.count("again"), order.count("slowed")) == (reruns, slowed)
    half = order[: len(order) // 2].count("slowed")
    assert abs(half - slowed / 2) <= 1


def compared(verdict: str, change: float) -> dict[str, Any]:
    return {"verdict": verdict, "rows": [{"stage": "1 at once", "metric": "ttft.mean", "change": change}]}


def test_a_bar_counts_the_true_verdict_and_names_the_others() -> None:
    found = [compared("same", 0.01)] * 18 + [compared("inconclusive", 0.05), compared("worse", 0.2)]
    bar = verdicts("again_x_same", found, "same", 19)
    assert bar.value == 18
    assert not bar.holds
    assert bar.why == "1 inconclusive, 1 worse"
    assert verdicts("again_x_same", found, "same", 18).holds
    assert told(found)["changes"]["1 at once: ttft.mean"] == {"least": 0.01, "mean": 0.0215, "most": 0.2}


@pytest.mark.parametrize("then", ["same", "worse", "inconclusive"])
def test_an_inconclusive_comparison_is_made_anew_once_with_the_runs_it_asks_for(then: str) -> None:
    asked: list[int] = []

    def measure(runs: int) -> dict[str, Any]:
        asked.append(runs)
        found = compared("inconclusive" if runs == 5 else then, 0.05)
        return {**found, "rows": [{**found["rows"][0], "runs_needed": needed} for needed in (0, 9, 8)]}

    found = settled(measure, 5)
    assert asked == [5, 9]
    assert (found["verdict"], found["first"]["verdict"]) == (then, "inconclusive")
    assert "1 asked for more runs first" in verdicts("again_x_same", [found], "same", 1).why


@pytest.mark.parametrize(("needed", "made"), [(0, 6), (5, 6), (12, 12), (1000, 20)])
def test_what_a_comparison_asks_for_has_bounds(needed: int, made: int) -> None:
    asked: list[int] = []

    def measure(runs: int) -> dict[str, Any]:
        asked.append(runs)
        return {"verdict": "inconclusive", "rows": [{"runs_needed": needed}]}

    settled(measure, 5)
    assert asked == [5, made]


@pytest.mark.parametrize("verdict", ["same", "worse"])
def test_a_verdict_stands(verdict: str) -> None:
    assert settled(lambda runs: compared(verdict, float(runs)), 5) == compared(verdict, 5.0)


@pytest.mark.parametrize("engine", CONTRACTS)
def test_its_contract_is_one(engine: str) -> None:
    contract = contract_of(CONTRACTS[engine])
    assert contract.name == CONTRACTS[engine].stem
    assert contract.workload.exact_output
