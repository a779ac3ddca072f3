"""Plots: stages are named, axes end with the data, labels keep apart."""

import re
from itertools import combinations
from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.bench.contract.compare import compare
from penstock.bench.report.document import Plot
from penstock.bench.report.parts import labels, parts_of
from penstock.bench.report.place import box_of, places
from penstock.bench.report.plots.cdf import distribution
from penstock.bench.report.plots.change import changes
from penstock.bench.report.plots.latency import curve
from penstock.bench.report.plots.timeline import over_time
from penstock.bench.report.svg import Box, width_of
from penstock.bench.sample import Stage
from tests.bench.report.sets import set_of
from tests.bench.samples import run

STAGES = ("C=1", "C=4", "2/s")
QUANTITIES = ("ttft", "tpot", "e2e")


def texts(drawing: str) -> list[str]:
    tree = ElementTree.fromstring(drawing)
    return [each.text or "" for each in tree.iter() if each.tag.endswith("text")]


def plots() -> list[Plot]:
    kept = set_of(1)
    parts = parts_of(kept)
    found = [
        plot
        for quantity in QUANTITIES
        for plot in (curve([("", parts)], quantity), distribution([("", parts)], quantity, 0.12))
    ]
    return [*found, over_time(kept.runs[0], parts)]


@pytest.mark.parametrize("plot", plots(), ids=lambda plot: plot.title)
def test_every_stage_is_named_in_every_plot_in_both_sizes(plot: Plot) -> None:
    for drawing in (plot.wide, plot.narrow):
        assert set(STAGES) <= set(texts(drawing))
    assert all(stage in plot.desc for stage in STAGES)


@pytest.mark.parametrize("plot", plots(), ids=lambda plot: plot.title)
def test_nothing_is_drawn_outside_its_drawing(plot: Plot) -> None:
    for drawing in (plot.wide, plot.narrow):
        tree = ElementTree.fromstring(drawing)
        width, height = map(float, tree.attrib["viewBox"].split()[2:])
        for each in tree.iter():
            if each.tag.endswith("text"):
                wide = width_of(each.text or "")
                left = (
                    float(each.attrib["x"])
                    - {"middle": 0.5, "end": 1.0}.get(each.attrib.get("text-anchor", ""), 0) * wide
                )
                assert -1 <= left <= left + wide <= width + 1, each.text
                assert 0 <= float(each.attrib["y"]) <= height
            for x, y in (map(float, point.split(",")) for point in each.attrib.get("points", "").split()):
                assert -0.1 <= x <= width + 0.1
                assert -0.1 <= y <= height + 0.1


@pytest.mark.parametrize("plot", plots(), ids=lambda plot: plot.title)
def test_data_fill_the_width_of_their_axis(plot: Plot) -> None:
    """The faults of an axis that runs past its data."""
    for drawing in (plot.wide, plot.narrow):
        axis = re.search(r'class="axis" d="M([\d.]+) [\d.]+V[\d.]+H([\d.]+)"', drawing)
        assert axis is not None
        left, right = map(float, axis.groups())
        ends = [float(at) for at in re.findall(r"([\d.]+),[\d.]+", " ".join(re.findall(r'points="([^"]*)"', drawing)))]
        assert max(ends) > right - 0.12 * (right - left)


def test_colour_is_never_alone() -> None:
    """Lines of one plot differ by dash or mark too."""
    plot = distribution([("", parts_of(set_of(1)))], "ttft")
    lines = re.findall(r'<polyline class="line (c\d)"( stroke-dasharray="[^"]*")?', plot.wide)
    assert len({dash for _, dash in lines}) == len({colour for colour, _ in lines}) == 3


def test_intervals_and_the_objective_are_drawn() -> None:
    parts = parts_of(set_of(1, 3))
    assert curve([("", parts)], "ttft").wide.count('class="whisker') == 6
    drawn = distribution([("", parts)], "ttft", 0.12).wide
    assert "SLO 120 ms" in drawn
    assert drawn.count('class="band') == 3
    assert "SLO" not in distribution([("", parts)], "ttft", 99.0).wide


def test_engines_stand_beside_latency_and_failures_are_marked() -> None:
    kept = set_of(1)
    plot = over_time(kept.runs[0], parts_of(kept))
    shown = texts(plot.wide)
    assert {"TTFT, ms", "KV cache in use, %", "waiting", "running", "failed", "requests/s", "output tokens/s"} <= set(
        shown
    )
    assert plot.wide.count('class="cross"') == 12 + 1, "each failure and the legend"
    calm = over_time(run(1), [])
    assert "cross" not in calm.wide


def test_a_comparison_draws_each_metric_with_its_interval_verdict_and_the_margin() -> None:
    before, after = set_of(1, 4), set_of(2, 4, 1.2)
    found = compare(before, after)
    plot = changes(found, dict(zip((row.stage for row in found.rows), STAGES, strict=False)), 0.1)
    rows = [row for row in found.rows if row.before]
    for drawing in (plot.wide, plot.narrow):
        assert drawing.count('class="whisker') == len(rows)
        assert drawing.count('class="margin"') == 1
        words = " ".join(texts(drawing))
        assert all(row.metric in words and row.verdict in words for row in rows)
    assert all(f"{row.metric}" in plot.desc for row in rows)


def test_stages_with_one_name_are_told_apart() -> None:
    found = labels([Stage("4 at once", 0, 1, 4), Stage("4 at once", 1, 2, 4), Stage("mine", 2, 3, 4)])
    assert found == ["C=4", "C=4 #2", "mine"]


@given(st.lists(st.tuples(st.floats(80, 480), st.floats(60, 240)), min_size=1, max_size=5))
def test_labels_of_points_that_are_apart_do_not_meet(points: list[tuple[float, float]]) -> None:
    apart = [a for a in points if all(a is b or abs(a[0] - b[0]) + abs(a[1] - b[1]) > 40 for b in points)]
    found = places([(point, "C=16") for point in apart], apart, Box(0, 0, 560, 300))
    boxes = [box_of(at, anchor, "C=16") for at, anchor in found]
    for one, two in combinations(boxes, 2):
        assert one.right <= two.left or two.right <= one.left or one.bottom <= two.top or two.bottom <= one.top
