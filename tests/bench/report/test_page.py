"""Pages: well formed, self-contained, true to the figures, safe with hostile names."""

import re
from xml.etree import ElementTree

import msgspec
import pytest

from penstock.bench.contract.compare import compare
from penstock.bench.contract.contract import RunSet
from penstock.bench.report.double import comparison_report
from penstock.bench.report.page import page
from penstock.bench.report.single import run_report
from penstock.bench.report.table import KINDS, markdown, rows_of
from penstock.bench.report.text import markdown_of
from penstock.bench.report.units import milli, seconds
from penstock.bench.sample import Ending, Run, Stage
from penstock.cli.bench.show import stages_of, summary
from tests.bench.report.sets import CONTRACT, set_of
from tests.bench.samples import queue, run, runs, sample

HOSTILE = '<script>alert("x")</script>&amp;|`'


def set_with(made: Run) -> RunSet:
    return RunSet(CONTRACT, made.fingerprint, [made])


def page_of(made: RunSet) -> str:
    return page(run_report(made))


def parsed(text: str) -> ElementTree.Element:
    """As XML: the page is written so that both parsers agree."""
    return ElementTree.fromstring(text.replace("<!doctype html>", ""))


def cells_of(text: str) -> list[str]:
    return [cell.text or "" for cell in parsed(text).iter() if cell.tag in ("td", "th")]


def comparison(seed: int = 1, slower: float = 1.2) -> tuple[str, str]:
    """(page, Markdown) of two sets."""
    before, after = set_of(seed, 4), set_of(seed + 1, 4, slower)
    document = comparison_report("before and after", compare(before, after), before, after)
    return page(document), markdown_of(document)


def pages() -> list[str]:
    return [page_of(set_of(1)), page_of(set_of(2, 3)), comparison()[0]]


@pytest.fixture(scope="module")
def made() -> list[str]:
    return pages()


def test_pages_are_well_formed_and_need_nothing_else(made: list[str]) -> None:
    for text in made:
        parsed(text)
        outside = text.replace("http://www.w3.org/2000/svg", "")
        assert not re.search(r"https?:|//[a-z]|<link|<script|<img|@import|url\(|\bon[a-z]+=|src=", outside)
        assert '<meta name="viewport" content="width=device-width, initial-scale=1"/>' in text
        assert "prefers-color-scheme:dark" in text
        assert "@media print" in text


def test_each_drawing_has_a_name_and_a_description_and_each_table_scopes(made: list[str]) -> None:
    for text in made:
        drawings = re.findall(r"<svg.*?</svg>", text)
        assert len(drawings) >= 8
        for drawing in drawings:
            tree = ElementTree.fromstring(drawing)
            found = [child.tag.rpartition("}")[2] for child in list(tree)[:2]]
            assert found == ["title", "desc"]
            assert all(child.text for child in list(tree)[:2])
        headings = re.findall(r"<th\b[^>]*>", text)
        assert headings
        assert all('scope="col"' in each or 'scope="row"' in each for each in headings)


def test_every_figure_of_the_json_is_on_the_page_and_in_the_markdown() -> None:
    kept = set_of(1)
    document = run_report(kept)
    text, words = page(document), markdown_of(document)
    cells = cells_of(text)
    for stage in summary(kept)["runs"][0]["stages"]:
        for spread in stage["spreads"].values():
            for value in (spread["mean"], spread["least"], spread["most"], *spread["at"].values()):
                assert seconds(value) in cells
                assert f"| {seconds(value)} |" in words
        for ending, count in stage["endings"].items():
            assert ending == "ok" or str(count) in cells
        assert str(stage["requests"]) in cells
        assert f"{stage['good_share']:.1%}" in cells
    for name, value in {**kept.fingerprint, "engine.flags": "--fast"}.items():
        assert name in cells
        assert value in cells
    assert kept.contract.digest in text
    assert "concurrency: 4" in text
    assert "concurrency: 4" in words


def test_every_number_of_the_terminal_is_on_the_page() -> None:
    kept = set_of(1)
    cells = cells_of(page_of(kept))
    for stage in stages_of(kept.runs[0], kept.contract):
        row = rows_of(stage)
        assert row[1] in cells
        assert row[3] in cells
        assert milli(stage.spreads["ttft"].at["p95"]) in cells


def test_a_class_and_a_failure_have_rows() -> None:
    kept = set_of(1)
    cells = cells_of(page_of(kept))
    assert {"short", "long", "503", "overloaded", "12", "20.0%"} <= set(cells)
    assert "By class" not in page_of(runs(1, 1))
    assert "<h2>Failures" not in page_of(runs(1, 1))


def test_several_runs_are_one_figure_with_an_interval_and_a_table_of_each() -> None:
    text = page_of(set_of(1, 3))
    assert "over runs, by Student" in text
    assert "Run 3" in cells_of(text)
    assert "in all 3 runs" in text


def test_a_queue_that_grows_is_told_above_the_tables() -> None:
    made = run(1)
    made.samples = queue(2.0, 3)
    made.stages = [Stage("10/s", 0.0, max(each.ended for each in made.samples), 0, 10.0)]
    text = page_of(set_with(made))
    assert "10/s: queue grows: offered rate is above what the server does" in text
    assert text.index("queue grows: offered") < text.index("<table")
    made.samples = queue(0.3, 3)
    made.stages = [Stage("10/s", 0.0, 60.0, 0, 10.0)]
    assert "queue grows" not in page_of(set_with(made))


def test_hostile_names_are_text() -> None:
    kept = run(1)
    kept.name = HOSTILE
    kept.stages = [msgspec.structs.replace(kept.stages[0], name=HOSTILE)]
    kept.series[0].source = HOSTILE
    kept.series[0].name = HOSTILE
    kept.samples = [*kept.samples, sample(99, error=HOSTILE, ending=Ending.RESET, kind=HOSTILE)]
    kept.fingerprint = {HOSTILE: HOSTILE}
    kept.notes = [HOSTILE]
    document = run_report(set_with(kept))
    assert "<script" not in page(document)
    parsed(page(document))
    assert "<script" not in markdown_of(document)


def test_a_run_that_is_not_valid_says_so_first() -> None:
    kept = run(1)
    kept.client = msgspec.structs.replace(kept.client, invalid="it was late")
    text = page_of(set_with(kept))
    assert "Not valid: it was late." in text.partition("<main>")[0]
    both = RunSet(CONTRACT, {}, [kept, run(2)])
    assert "1 of 2 runs. Left out: run 1: it was late." in page_of(both)
    assert "Not valid: it was late." in markdown_of(run_report(set_with(kept)))


@pytest.mark.parametrize("count", [0, 1, 2])
def test_small_runs(count: int) -> None:
    kept = run(1)
    kept.samples = [sample(number) for number in range(count)]
    parsed(page_of(set_with(kept)))
    markdown_of(run_report(set_with(kept)))


def test_a_run_without_stages_or_answers() -> None:
    kept = run(1)
    kept.stages, kept.samples, kept.series = [], [], []
    parsed(page_of(set_with(kept)))
    failed = run(1)
    failed.samples = [
        msgspec.structs.replace(each, first=0.0, last=0.0, gaps=[], output_tokens=0, ending=Ending.REFUSED)
        for each in failed.samples
    ]
    parsed(page_of(set_with(failed)))


def test_a_large_run_makes_a_page_below_a_megabyte() -> None:
    assert len(page_of(set_with(run(1, requests=20_000)))) < 1_000_000


def test_a_comparison_shows_its_verdict_and_every_interval() -> None:
    before, after = runs(1, 5), runs(2, 5, slower=1.2)
    found = compare(before, after)
    document = comparison_report("before and after", found, before, after)
    for text in (page(document), markdown_of(document)):
        assert "Verdict: worse." in text
        for row in found.rows:
            assert f"{row.low:+.1%} to {row.high:+.1%}" in text
    parsed(page(document))


def test_sets_that_cannot_be_compared_say_why() -> None:
    before, after = set_of(1, 2), set_of(2, 2)
    after.fingerprint = {**after.fingerprint, "engine.flags": "--slow"}
    text = page(comparison_report("two", compare(before, after), before, after))
    assert "engine.flags differs" in text
    assert "differs" in cells_of(text)


def test_a_table_in_markdown() -> None:
    row = rows_of(stages_of(run(1), CONTRACT)[0])
    text = markdown(KINDS, [row]).splitlines()
    assert [line.count("|") for line in text] == [len(KINDS) + 1] * 3
    assert markdown(("a",), [("x|y\n<b>",)]).splitlines()[2] == "| x\\|y &lt;b> |"


def test_markdown_has_whole_tables() -> None:
    _, text = comparison()
    tables = [line for line in text.splitlines() if line.startswith("|")]
    assert len(tables) > 20
    rules = [line for line in tables if set(line) <= set("|-: ")]
    assert len(rules) >= 6
