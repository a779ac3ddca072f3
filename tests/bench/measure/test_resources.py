"""Cost and energy of a stage: arithmetic by hand, and nothing made up of what is not known."""

import json

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import UNSET

from penstock.bench.contract.contract import RunSet
from penstock.bench.measure.figures import Figures, Slo, figures, with_resources
from penstock.bench.measure.resources import Cost, Energy, cost, energy, reading, used_between
from penstock.bench.report.page import page
from penstock.bench.report.single import run_report
from penstock.bench.report.table import resource_rows
from penstock.bench.sample import Run, Series, Stage
from tests.bench.report.sets import CONTRACT
from tests.bench.samples import run

STAGE = Stage("s", 1.0, 3.0, 4)


def meter(source: str, *points: tuple[float, float], name: str = "energy") -> Series:
    return Series(name, source, "J", [at for at, _ in points], [value for _, value in points])


def page_of(made: Run) -> str:
    return page(run_report(RunSet(CONTRACT, made.fingerprint, [made])))


def found_of(made: Run) -> Figures:
    return with_resources(figures(made.stages[0], made.samples, Slo()), made, 0)


def test_cost_by_hand() -> None:
    """36 an hour is a hundredth a second."""
    assert cost(36.0, 20.0, 500, 10) == Cost(pytest.approx(0.2), pytest.approx(0.4), pytest.approx(20.0))
    assert cost(36.0, 20.0, 0, 0) == Cost(pytest.approx(0.2), UNSET, UNSET)
    assert cost(None, 20.0, 500, 10) is UNSET


def test_energy_by_hand() -> None:
    """From second 1 to 3: of the first 100 J/s between readings, of the second 10 J/s."""
    gpu = meter("GPU 0", (0.0, 5000.0), (2.0, 5200.0), (4.0, 5400.0))
    cpu = meter("package-0", (0.5, 0.0), (3.5, 30.0))
    other = meter("GPU 0", (0.0, 1.0), (9.0, 2.0), name="running")
    assert energy(STAGE, [gpu, cpu, other], 110) == Energy(pytest.approx(220.0), ["GPU 0", "package-0"], 2.0)
    assert energy(STAGE, [other], 110) is UNSET
    assert energy(STAGE, [gpu], 0) == Energy(pytest.approx(200.0), ["GPU 0"], UNSET)


def test_a_meter_that_was_not_read_all_the_time_is_not_counted() -> None:
    late, early, empty = meter("a", (1.1, 0.0), (4.0, 1.0)), meter("b", (0.0, 0.0), (2.9, 1.0)), meter("c")
    assert energy(STAGE, [late, early, empty], 10) is UNSET
    assert reading(meter("d", (1.0, 7.0)), 1.0) == 7.0


@given(
    st.lists(st.tuples(st.floats(0.01, 5), st.floats(0, 500)), min_size=2, max_size=30),
    st.lists(st.floats(0, 1), min_size=3, max_size=3),
)
def test_energy_of_two_spans_is_that_of_both(steps: list[tuple[float, float]], parts: list[float]) -> None:
    at = joules = 0.0
    points = [(at, joules)]
    for seconds, more in steps:
        at, joules = at + seconds, joules + more
        points.append((at, joules))
    given_meter = meter("m", *points)
    a, b, c = sorted(part * at for part in parts)
    one, two, both = (used_between(given_meter, *ends) for ends in ((a, b), (b, c), (a, c)))
    assert one is not None
    assert two is not None
    assert both == pytest.approx(one + two, abs=1e-6)
    assert min(one, two) >= -1e-6
    assert used_between(given_meter, 0.0, at) == pytest.approx(joules)


def test_what_is_not_known_is_absent_from_results_and_pages() -> None:
    made = run(1)
    told = json.loads(msgspec.json.encode(found_of(made)))
    assert "cost" not in told
    assert "energy" not in told
    assert resource_rows([found_of(made)]) == []
    assert "Cost and energy" not in page_of(made)


def test_what_is_known_is_told() -> None:
    made = run(1)
    end = made.stages[0].end
    made.price_per_hour = 3600.0
    made.series.append(meter("GPU 0", (0.0, 0.0), (end, 600.0)))
    told = json.loads(msgspec.json.encode(found_of(made)))
    assert told["cost"]["whole"] == pytest.approx(end)
    assert told["cost"]["per_1k_output_tokens"] == pytest.approx(end / 0.3), "60 answers of 5 tokens"
    assert told["cost"]["per_1k_requests"] == pytest.approx(end / 0.06)
    assert told["energy"] == {"joules": 600.0, "sources": ["GPU 0"], "joules_per_output_token": pytest.approx(2.0)}
    assert resource_rows([found_of(made)])[2:] == [
        ("4 at once", "energy (GPU 0)", "600 J"),
        ("4 at once", "energy per output token", "2 J"),
    ]
    text = page_of(made)
    assert "Cost and energy" in text
    assert ">600 J<" in text
