"""Baselines run again: the order of the runs, and what is said of the verdicts."""

from typing import Any

import pytest

from benchmarks.bench.again import CONTRACTS, interleaved, told, verdicts
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


def test_a_bar_tells_how_many_had_to_grow() -> None:
    found = [{**compared("same", 0.01), "runs": runs} for runs in (5, 10, 20, 5)]
    bar = verdicts("again_x_same", found, "same", 4)
    assert bar.holds
    assert bar.why == "2 of sets that had to grow"


@pytest.mark.parametrize("engine", CONTRACTS)
def test_its_contract_is_one(engine: str) -> None:
    contract = contract_of(CONTRACTS[engine])
    assert contract.name == CONTRACTS[engine].stem
    assert contract.workload.exact_output
