"""Intervals, ratios, bars and the files of a run, from rows made by hand."""

import json
import random
from pathlib import Path
from typing import Any

import pytest

from benchmarks.bars import read_bars
from benchmarks.routing import figures as module
from benchmarks.routing import report
from benchmarks.routing.engines import FLEETS
from benchmarks.routing.figures import Figures, bars, interval, share_over_fair
from benchmarks.routing.session import Options, Session, run
from benchmarks.routing.spread import Spread, spread


def made(speeds: dict[str, float], workload: str = "skewed_prefix", rounds: int = 2, **more: Any) -> dict[str, Any]:
    """Raw data: each gateway's TTFT is exponential with the given mean."""
    rng = random.Random(1)
    raw: dict[str, Any] = {
        "when": "2026-01-01T00:00:00+00:00", "seconds": 60.0, "quick": False, "versions": dict.fromkeys(speeds, "1"),
        "machine": {"cpu": "x", "cores": 2, "kernel": "6", "python": "3.11"}, "fleets": {"llamacpp": "4 engines"},
        "rates": {"llamacpp": {"skewed_prefix": 1.5}}, "absent": {}, "cells": [], "requests": [],
    }  # fmt: skip
    for number in range(rounds):
        for name, mean in speeds.items():
            index = len(raw["cells"])
            raw["cells"].append(
                {
                    "fleet": "llamacpp", "workload": workload, "gateway": name, "round": number, "seconds": 20.0,
                    "rate": 1.5, "served": [10, 10, 10, 10 + 10 * number], "served_by": "header",
                    "cached_tokens": 50.0, "prompt_tokens": 100.0,
                }
            )  # fmt: skip
            for request in range(40):
                ttft = 0.05 + rng.expovariate(1 / mean)
                raw["requests"].append([index, request / 2, ttft, ttft + 0.2, 100, 50, 8, "e0", ""])
    return raw | more


def bar(raw: dict[str, Any], name: str) -> dict[str, Any]:
    return {each.name: each.as_json() for each in bars(Figures(raw, 200))}[name]


def test_an_interval_holds_the_figure_and_a_ratio_its_direction() -> None:
    figures = Figures(made({"penstock": 0.2, "penstock-round_robin": 1.0}), 300)
    own = figures.table()["llamacpp"]["skewed_prefix"]
    for gateway in own.values():
        for name in module.STATISTICS:
            low, high = gateway[f"{name}_95"]
            assert low <= gateway[name] <= high
    low, high = own["penstock-round_robin"]["ttft_p50_over_default_95"]
    assert 1.5 < low < own["penstock-round_robin"]["ttft_p50_over_default"] < high
    assert own["penstock"]["requests_per_s"] == 2.0
    assert own["penstock"]["out_tokens_per_s"] == 16.0
    assert own["penstock"]["hit_rate"] == own["penstock"]["hit_rate_of_engines"] == 0.5


def test_what_a_round_does_to_all_gateways_is_in_no_ratio() -> None:
    """A round in which everything takes ten times as long widens the intervals of figures, not those of ratios."""
    raw = made({"penstock": 0.2, "smg": 0.2}, rounds=4)
    slow = {number for number, cell in enumerate(raw["cells"]) if cell["round"] == 0}
    calm = Figures(raw, 300)
    for row in raw["requests"]:
        if row[0] in slow:
            row[2], row[3] = 10 * row[2], 10 * row[3]
    stormy = Figures(raw, 300)
    key, other = ("llamacpp", "skewed_prefix", "penstock"), ("llamacpp", "skewed_prefix", "smg")

    def widths(figures: Figures) -> tuple[float, float]:
        own = figures.table()["llamacpp"]["skewed_prefix"]["penstock"]
        ratio = figures.ratio(key, other, "request_mean_s")
        assert ratio is not None
        return own["request_mean_s_95"][1] / own["request_mean_s_95"][0], ratio[1][1] / ratio[1][0]

    (before, of_ratio), (after, of_ratio_after) = widths(calm), widths(stormy)
    assert after > 2 * before
    assert of_ratio_after < 2 * of_ratio


def test_same_raw_same_figures() -> None:
    raw = made({"penstock": 0.2, "smg": 0.2})
    assert Figures(raw, 50).table() == Figures(raw, 50).table()


@pytest.mark.parametrize(("own", "holds"), [(0.2, True), (1.0, True), (1.05, True), (4.0, False)])
def test_best_or_within_noise_of_best(own: float, holds: bool) -> None:
    found = bar(made({"penstock": own, "smg": 1.0, "vllm-router": 3.0}), "llamacpp_skewed_prefix_ttft_p50_vs_best")
    assert found["holds"] is holds
    assert found["why"].endswith("of smg")


def test_ahead_on_skewed_prefixes() -> None:
    ahead = made({"penstock": 0.2, "penstock-round_robin": 1.0})
    assert bar(ahead, "skewed_p50_round_robin_over_default")["holds"]
    assert bar(ahead, "skewed_p99_default_over_round_robin")["holds"]
    behind = made({"penstock": 1.0, "penstock-round_robin": 0.2})
    assert not bar(behind, "skewed_p50_round_robin_over_default")["holds"]
    assert not bar(behind, "skewed_p99_default_over_round_robin")["holds"]


def in_flight(engine: str, start: float, seconds: float) -> list[Any]:
    return [0, start, 0.1, seconds, 100, 50, 8, engine, ""]


def test_load_is_requests_in_flight_over_time() -> None:
    even = [in_flight(f"e{number % 2}", float(number), 2.0) for number in range(20)]
    assert spread(even, 2, 0.25, 1.3) == Spread(1.0, 0.0)
    many_short = [in_flight("e0", number / 2, 0.5) for number in range(40)] + [in_flight("e1", 0.0, 30.0)]
    found = spread(many_short, 2, 0.25, 1.3)
    assert found is not None
    assert found.load_over_fair == pytest.approx(1.0)
    one_does_all = [in_flight("e0", float(number), 2.0) for number in range(20)]
    assert spread(one_does_all, 2, 0.0, 1.3) == Spread(2.0, 1.0)
    assert spread([in_flight("", 0.0, 1.0)], 2, 0.0, 1.3) is None
    assert spread([], 2, 0.0, 1.3) is None


def test_the_worst_round_of_the_hot_spot_counts() -> None:
    found = bar(made({"penstock": 0.2}, "hot_spot"), "hot_spot_max_load_over_fair")
    assert found["value"] == 4.0
    assert not found["holds"]
    assert "while another engine idled: " in found["why"]
    assert share_over_fair([5, 5, 5, 5]) == 1
    assert share_over_fair([0, 0]) is None


def test_failed_requests_are_counted_and_leave_the_latencies() -> None:
    raw = made({"penstock": 0.2})
    raw["requests"][0][2] = None
    found = Figures(raw, 50).table()["llamacpp"]["skewed_prefix"]["penstock"]
    assert (found["failed"], found["requests"]) == (1, 79)
    assert not bar(raw, "default_requests_failed")["holds"]


def test_what_is_absent_says_why_and_does_not_hold() -> None:
    raw = made({"smg": 0.2}, absent={"vllm": "not installed: x", "penstock on llamacpp": "did not start: y"})
    assert "not installed: x" in bar(raw, "vllm_multi_turn_ttft_p50_vs_best")["why"]
    assert "did not start: y" in bar(raw, "llamacpp_skewed_prefix_ttft_p50_vs_best")["why"]
    assert not any(each.holds for each in bars(Figures(raw, 20)) if each.value is None)


def test_gateway_bars_come_from_the_gateway_bench(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "latest.json"
    monkeypatch.setattr(module, "GATEWAY_FILE", path)
    raw = made({"penstock": 1})
    assert "penstock-routing" in bar(raw, "routing_unary_vs_nginx")["why"]
    path.write_text(json.dumps({"figures": {"penstock-routing": {"unary_vs_nginx": 3.0, "chunk_vs_nginx": 1.4}}}))
    assert bar(raw, "routing_unary_vs_nginx")["holds"]
    assert not bar(raw, "routing_chunk_vs_nginx")["holds"]


def test_interval_leaves_the_ends_out() -> None:
    assert interval(float(each) for each in range(1000)) == [24.0, 974.0]


def test_files_of_a_run(tmp_path: Path) -> None:
    raw = made({"penstock": 0.2, "smg": 0.4}, absent={"vllm": "not installed"})
    raw["requests"] = [row if row[0] != 1 else [*row[:2], None, *row[3:]] for row in raw["requests"]]
    report.save_raw(raw, tmp_path)
    assert report.load_raw(tmp_path) == raw
    doc = report.write(raw, tmp_path)
    assert len(read_bars(tmp_path / "latest.json")) == len(doc["bars"])
    text = (tmp_path / "report.md").read_text()
    assert "skewed_prefix on llamacpp" in text
    assert "open loop at 1.5 requests/s" in text
    assert "absent, vllm: not installed" in text
    assert (tmp_path / "plot.svg").read_text().count("<rect") == 2


@pytest.mark.parametrize("options", [Options(only=["x"]), Options(workloads=["x"]), Options(engines=["x"])])
def test_unknown_names_are_refused_with_the_known_ones(options: Options) -> None:
    with pytest.raises(ValueError, match=r"unknown: x; known: \w"):
        run(options)


@pytest.mark.parametrize(
    ("fleet", "options", "rounds"),
    [("llamacpp", Options(rounds=3), 3), ("llamacpp", Options(quick=True), 1), ("vllm", Options(minutes=0.0), 3)],
)
def test_how_many_rounds(fleet: str, options: Options, rounds: int) -> None:
    session = Session.__new__(Session)
    chosen = next(each for each in FLEETS if each.kind == fleet)
    session._options, session._fleet, session._begun = options, chosen, 0.0
    assert [session._again(number, 1e9) for number in range(rounds + 1)] == [True] * rounds + [False]


def test_the_best_of_several_needs_a_wider_interval() -> None:
    assert interval((float(each) for each in range(1000)), 5) == [4.0, 994.0]
