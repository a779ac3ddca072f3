"""What the proofs of limits make of their raw data."""

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.bars import Bar, read_bars
from benchmarks.limits import exact, outages, report
from benchmarks.limits.proof import Proof
from benchmarks.limits.windows import most

AMOUNTS = st.lists(st.tuples(st.integers(0, 300), st.integers(0, 50)), max_size=40)


@given(AMOUNTS, st.integers(1, 100))
def test_the_fullest_window_is_the_largest_sum_of_any(amounts: list[tuple[int, int]], window: int) -> None:
    sums = (sum(amount for at, amount in amounts if since <= at < since + window) for since, _ in amounts)
    assert most(((float(at), amount) for at, amount in amounts), window) == max(sums, default=0)


def test_a_window_counts_what_comes_to_the_engine_and_what_ends_there() -> None:
    plan = exact.Plan(limit=100, window_s=10, windows=2)
    served = [(0.0, 9.0, 40, 10), (5.0, 11.0, 40, 10), (10.0, 12.0, 40, 10), (20.0, 21.0, 5, 5)]
    found = exact.figures_of(exact.Run(served, {"200": 4}, [(0.0, 50)]), plan)
    assert found["by_arrival"] == 1.0
    assert found["by_end"] == 1.5
    assert found["requests"] == 3, "what came after the time is not counted"
    assert found["total_over_allowed"] == 0.75
    bars = {bar.name: bar.holds for bar in exact.bars({"redis_unary": found}, plan)}
    assert bars == {
        "exact_redis_unary_fullest_window": True,
        "exact_redis_unary_total": False,
    }


OPEN = [(1.0, 0.01, "200"), (2.0, 0.01, "rate_limit_exceeded"), (5.0, 0.05, "200"), (34.0, 0.01, "rate_limit_exceeded")]
CLOSED = [(1.0, 0.01, "200"), (3.5, 0.01, "200"), (8.0, 0.05, "limits_unavailable"), (34.0, 0.01, "200")]


def seen(rows: list[tuple[float, float, str]]) -> outages.Seen:
    passed = [row for row in rows if row[2] == "200"]
    return outages.Seen(rows, [(row[0], outages.COST) for row in passed], len(passed))


def run(more: dict[str, tuple[float, float, str]]) -> outages.Run:
    rows = {"open": OPEN, "closed": CLOSED}
    rules = {rule: seen([*own, *([more[rule]] if rule in more else [])]) for rule, own in rows.items()}
    return outages.Run(3.0, 33.0, rules, [(10.0, 0.001, "200")])


@pytest.mark.parametrize("name", ["stopped", "frozen"])
def test_rules_as_configured_give_no_unexpected_answer(name: str) -> None:
    for rule in outages.RATES:
        assert outages.unexpected(name, run({}), rule) == []
        assert outages.figures_of(name, run({}), rule)["uncounted"] == 0


@pytest.mark.parametrize(
    ("rule", "row"),
    [
        ("open", (10.0, 0.01, "limits_unavailable")),
        ("open", (10.0, 0.01, "rate_limit_exceeded")),
        ("open", (10.0, 5.0, "0")),
        ("closed", (10.0, 0.01, "200")),
        ("closed", (10.0, 0.01, "rate_limit_exceeded")),
        ("closed", (2.0, 0.01, "limits_unavailable")),
    ],
)
def test_an_answer_that_the_rule_should_not_give_is_found(rule: str, row: tuple[float, float, str]) -> None:
    assert outages.unexpected("frozen", run({rule: row}), rule) == [row]


def test_a_rule_recovers_when_it_is_enforced_again() -> None:
    for rule in outages.RATES:
        assert outages.recovery(run({}), rule) == pytest.approx(1.01)
        assert outages.astray(run({}), rule) == 0
    early = run({"open": (33.5, 0.1, "rate_limit_exceeded"), "closed": (33.5, 0.2, "200")})
    assert outages.recovery(early, "open") == pytest.approx(0.6)
    assert outages.recovery(early, "closed") == pytest.approx(0.7)
    astray = run({"open": (35.0, 0.1, "200"), "closed": (35.0, 0.1, "limits_unavailable")})
    assert [outages.astray(astray, rule) for rule in outages.RATES] == [1, 1]


def test_what_the_gateway_adds_is_what_the_engine_alone_does_not_take() -> None:
    found = outages.figures_of("frozen", run({}), "open")
    assert (found["p99_ms"], found["direct_p99_ms"], found["added_p99_ms"]) == (50.0, 1.0, 49.0)


def test_bars_take_the_worse_rule_and_every_outage(tmp_path: Path) -> None:
    slow = run({"open": (20.0, 2.0, "200")})
    figures = {
        name: {rule: outages.figures_of(name, slow if name == "slow" else run({}), rule) for rule in outages.RATES}
        for name in outages.OUTAGES
    }
    bars = {bar.name: bar for bar in outages.bars(figures)}
    assert not bars["outages_slow_hung"].holds
    assert not bars["outages_slow_added_p99"].holds
    assert [name for name, bar in bars.items() if not bar.holds] == ["outages_slow_hung", "outages_slow_added_p99"]


def test_proofs_run_one_by_one_meet_in_one_file(tmp_path: Path) -> None:
    when = {"machine": {"cores": 2}}
    for name, value in (("b", 1.0), ("a", 3.0)):
        proof = Proof([Bar(f"{name}_bar", value, 2.0, "s")], {"value": value}, {"rows": [[1, 2], [3, 4]]})
        report.save(report.document(name, {"when": f"2026-01-0{int(value)}", **when}, proof), proof.raw, tmp_path)
    doc = report.latest(["a", "b", "c"], tmp_path)
    assert doc["when"] == "2026-01-03"
    assert list(doc["runs"]) == ["a", "b"]
    assert [(bar["name"], bar["holds"]) for bar in read_bars(tmp_path / "latest.json")] == [
        ("a_bar", False),
        ("b_bar", True),
    ]
    assert json.loads((tmp_path / "raw-a.json").read_text())["raw"] == {"rows": [[1, 2], [3, 4]]}
