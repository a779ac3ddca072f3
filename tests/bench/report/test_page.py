"""Pages: well formed, self-contained, true to the figures, safe with hostile names."""

import re
from xml.etree import ElementTree

import msgspec
import pytest

from penstock.bench.contract.compare import compare
from penstock.bench.measure.figures import Slo, figures
from penstock.bench.report.page import comparison_page, run_page
from penstock.bench.report.svg import Axis, Line, bars, lines
from penstock.bench.report.table import KINDS, markdown, rows_of
from penstock.bench.sample import Run, Stage
from tests.bench.samples import queue, run, runs, sample

HOSTILE = '<script>alert("x")</script>&amp;'


def page_of(made: Run) -> str:
    return run_page(made, [figures(stage, made.samples, Slo(ttft=0.2)) for stage in made.stages])


def parsed(page: str) -> ElementTree.Element:
    """As XML: the page is written so that both parsers agree."""
    body = page.replace("<!doctype html>", "").replace('<meta charset="utf-8">', "")
    return ElementTree.fromstring(re.sub(r"<meta [^>]*>", "", body))


def test_a_page_is_well_formed_and_needs_nothing_else() -> None:
    page = page_of(run(1))
    parsed(page)
    assert not re.search(r"https?://|<link|<script|@import|url\(", page)


def test_every_number_of_the_table_is_the_one_that_was_measured() -> None:
    made = run(1)
    found = figures(made.stages[0], made.samples, Slo(ttft=0.2))
    cells = [cell.text for cell in parsed(page_of(made)).iter("td")]
    for value in rows_of(found):
        assert value in cells
    assert f"{found.spreads['ttft'].at['p95'] * 1e3:.4g} ms" in cells


def test_a_queue_that_grows_is_told_above_the_table_and_in_it() -> None:
    made = run(1)
    made.samples = queue(2.0, 3)
    made.stages = [Stage("10/s", 0.0, max(each.ended for each in made.samples), 0, 10.0)]
    page = page_of(made)
    assert "10/s: queue grows: offered rate is above what the server does" in page
    assert page.index("queue grows: offered") < page.index("<table")
    assert ">queue grows</td>" in page
    made.samples = queue(0.3, 3)
    made.stages = [Stage("10/s", 0.0, 60.0, 0, 10.0)]
    assert "queue grows" not in page_of(made)


def test_hostile_names_are_text() -> None:
    made = run(1)
    made.name = made.stages[0].name if False else HOSTILE
    made.stages = [msgspec.structs.replace(made.stages[0], name=HOSTILE)]
    made.series[0].source = HOSTILE
    made.fingerprint = {HOSTILE: HOSTILE}
    made.notes = [HOSTILE]
    page = page_of(made)
    assert "<script" not in page
    parsed(page)


def test_a_run_that_is_not_valid_says_so_first() -> None:
    made = run(1)
    made.client = msgspec.structs.replace(made.client, invalid="it was late")
    assert "Not valid: it was late." in page_of(made)


@pytest.mark.parametrize("count", [0, 1, 2])
def test_small_runs(count: int) -> None:
    made = run(1)
    made.samples = [sample(number) for number in range(count)]
    parsed(page_of(made))


def test_a_large_run_makes_a_page_below_a_megabyte() -> None:
    made = run(1, requests=20_000)
    assert len(page_of(made)) < 1_000_000


def test_thinning_keeps_the_extremes() -> None:
    values = [1.0] * 5000
    values[1234], values[4321] = 9.0, -3.0
    plot = lines("t", Axis("x"), Axis("y"), [Line("a", list(map(float, range(5000))), values)])
    path = re.search(r'points="([^"]*)"', plot)
    assert path is not None
    heights = [float(point.split(",")[1]) for point in path[1].split()]
    assert len(heights) < 500
    assert (max(heights) - min(heights)) > 100


@pytest.mark.parametrize("log", [False, True])
def test_ticks_are_round_and_few(log: bool) -> None:
    plot = lines("t", Axis("x", log=log), Axis("y"), [Line("a", [0.013, 0.4, 7.7], [1.0, 2.0, 3.0])])
    ticks = re.findall(r'class="tick" [^>]*>([^<]*)<', plot)
    assert 3 <= len(ticks) <= 12
    assert all(re.fullmatch(r"-?[0-9.,e-]+", tick) for tick in ticks)


def test_plots_of_nothing() -> None:
    assert "nothing was measured" in lines("t", Axis("x"), Axis("y"), [])
    assert "nothing was measured" in bars("t", "x", [])


def test_a_comparison_shows_its_verdict_and_every_interval() -> None:
    found = compare(runs(1, 5), runs(2, 5, slower=1.2))
    page = comparison_page("before and after", found, {"a": "b"})
    parsed(page)
    assert "Verdict: worse." in page
    for row in found.rows:
        assert f"{row.low:+.1%} to {row.high:+.1%}" in page


def test_a_table_in_markdown() -> None:
    made = run(1)
    row = rows_of(figures(made.stages[0], made.samples, Slo()))
    text = markdown(KINDS, [row]).splitlines()
    assert [line.count("|") for line in text] == [len(KINDS) + 1] * 3
    assert markdown(("a",), [("x|y",)]).splitlines()[2] == "| x\\|y |"
