"""The reader of exposition text: every legal line, no error on any other."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry, Counter, Gauge, generate_latest
from prometheus_client.openmetrics import exposition as openmetrics

from penstock.wire.dialects import DIALECTS, read_load
from penstock.wire.dialects.exposition import Sample, lines_of, samples

LINES = lines_of(["a_b", "a_b_more"])
VALUES = st.text(st.characters(codec="utf-8"))


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("a:b 1", Sample({}, 1)),
        ("a:b_total 2", Sample({}, 2)),
        ("a:b\t3 1700000000000", Sample({}, 3)),
        ("a:b{} 4", Sample({}, 4)),
        ('a:b{x="1"} 5e-3', Sample({"x": "1"}, 0.005)),
        ('a:b{x="1",} 6', Sample({"x": "1"}, 6)),
        ('a:b{ x = "1" , y = "2" } 7', Sample({"x": "1", "y": "2"}, 7)),
        (r'a:b{x="a\"b\\c\nd"} 8', Sample({"x": 'a"b\\c\nd'}, 8)),
        ('a:b{x="}, y=\\"2"} 9', Sample({"x": '}, y="2'}, 9)),
        ('a:b{x=""} +Inf', Sample({"x": ""}, math.inf)),
        ('a:b_total{x="1"} 10.0 1700000000.1 # {trace="z"} 1.0', Sample({"x": "1"}, 10)),
        ("a:b 11\r", Sample({}, 11)),
        ("a_b 14", Sample({}, 14)),
        ('{"a:b"} 12', Sample({}, 12)),
        ('{"a:b_total",x="1"} 13', Sample({"x": "1"}, 13)),
    ],
)
def test_a_legal_line_is_read(line: str, expected: Sample) -> None:
    for whole in (line, f"# TYPE a:b gauge\n{line}\n# EOF\n"):
        assert samples(whole, LINES) == {"a_b": [expected]}


@pytest.mark.parametrize(
    "line",
    [
        "a:b",
        "a:b x",
        "a:b 1_0",
        "a:bc 1",
        "a:b_created 1",
        "a:b_total_more 1",
        'a:b{x="1" 1',
        "a:b{x=1} 1",
        'a:b{x="1"y="2"} 1',
        '# a:b{x="1"} 1',
        "A:B 1",
    ],
)
def test_another_line_is_passed_over(line: str) -> None:
    assert samples(f"{line}\n", LINES) == {}


def test_a_name_that_begins_another_is_not_the_other() -> None:
    assert samples("a:b_more 1\na:b 2\na:b_more_total 3\n", LINES) == {
        "a_b_more": [Sample({}, 1), Sample({}, 3)],
        "a_b": [Sample({}, 2)],
    }


def test_nan_is_a_value() -> None:
    (sample,) = samples("a:b NaN", LINES)["a_b"]
    assert math.isnan(sample.value)


@given(st.text())
def test_no_text_is_an_error(text: str) -> None:
    samples(text, LINES)


@given(st.binary(), st.sampled_from([*DIALECTS, "auto"]), st.text())
def test_no_bytes_are_an_error(text: bytes, dialect: str, version: str) -> None:
    read_load(text, 0.0, dialect=dialect, version=version)


@given(st.lists(st.tuples(st.sampled_from(["a:b", "a:b{", 'x="', '\\"', '"', "}", " ", "1", "\n", "{", ",", "NaN"]))))
def test_nothing_close_to_the_format_is_an_error(pieces: list[tuple[str]]) -> None:
    for found in samples("".join(piece for (piece,) in pieces), LINES).values():
        assert all(isinstance(sample.value, float) for sample in found)


@given(VALUES, VALUES, st.floats())
def test_what_prometheus_client_writes_comes_back(one: str, other: str, value: float) -> None:
    registry = CollectorRegistry()
    gauge = Gauge("a:b", "A gauge.", ["one", "other"], registry=registry)
    gauge.labels(one, other).set(value)
    for write in (generate_latest, openmetrics.generate_latest):
        (sample,) = samples(write(registry).decode(), LINES)["a_b"]
        assert sample.labels == {"one": one, "other": other}
        assert sample.value == value or (math.isnan(sample.value) and math.isnan(value))


@pytest.mark.parametrize("write", [generate_latest, openmetrics.generate_latest])
def test_a_counter_comes_back_whatever_the_format(write: object) -> None:
    registry = CollectorRegistry()
    Counter("a:b", "A counter.", registry=registry).inc(3)
    assert callable(write)
    assert samples(write(registry).decode(), LINES) == {"a_b": [Sample({}, 3)]}
