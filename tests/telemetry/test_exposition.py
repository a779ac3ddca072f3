"""Records -> meter -> text: a Prometheus parser reads it, and the numbers are those of the Records."""

import os
from collections import defaultdict
from math import nan

from hypothesis import given, settings
from hypothesis import strategies as st
from prometheus_client.parser import text_string_to_metric_families

from penstock.core.record import Attempt, Outcome, Record, TokenSource
from penstock.telemetry import buckets
from penstock.telemetry.catalogue import PLATFORM, SHEETS, Kind
from penstock.telemetry.exposition import render
from penstock.telemetry.meter import Meter
from penstock.telemetry.series import OTHER, SeriesReader, SeriesWriter, Totals, create_file

SECONDS = st.floats(0, 4000) | st.sampled_from(buckets.LATENCY + buckets.TOKEN + buckets.FIRST_TOKEN)
NAME = st.sampled_from(["m", 'a"b\\c\nd', "é", OTHER])
RECORDS = st.lists(
    st.builds(
        Record,
        id=st.just("r"),
        time=st.just(0.0),
        model=NAME,
        engine=NAME,
        status=st.sampled_from([200, 404, 429, 499, 502]),
        error=st.sampled_from(["", "queue_full"]),
        outcome=st.sampled_from(Outcome),
        duration_s=SECONDS,
        ttft_s=st.none() | SECONDS,
        tpot_s=st.none() | SECONDS,
        input_tokens=st.integers(0, 10**6),
        output_tokens=st.integers(0, 10**6),
        tokens_source=st.sampled_from(TokenSource),
        bytes_in=st.integers(0, 10**9),
        bytes_out=st.integers(0, 10**9),
        attempts=st.lists(st.just(Attempt("e", 0.0)), max_size=3),
    ),
    min_size=1,
    max_size=15,
)


def text_of(records: list[Record]) -> str:
    descriptor = create_file()
    try:
        writer = SeriesWriter(descriptor, SHEETS)
        meter = Meter(writer)
        for record in records:
            meter.finish(record, "/v1/a", record.model)
        meter.flush()
        totals = Totals()
        totals.add(SeriesReader(descriptor, SHEETS), gauges=True)
    finally:
        os.close(descriptor)
    return render(SHEETS, totals.rows).decode()


def samples(text: str) -> dict[str, list[tuple[dict[str, str], float]]]:
    found: dict[str, list[tuple[dict[str, str], float]]] = defaultdict(list)
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            found[sample.name].append((sample.labels, sample.value))
    return found


def total(found: dict[str, list[tuple[dict[str, str], float]]], name: str) -> float:
    return sum(value for _, value in found[name])


@settings(deadline=None)
@given(records=RECORDS)
def test_the_text_tells_what_the_records_say(records: list[Record]) -> None:
    found = samples(text_of(records))
    told = [record for record in records if record.tokens_source is not TokenSource.NONE]
    assert total(found, "penstock_requests_total") == len(records)
    assert total(found, "penstock_input_tokens_total") == sum(record.input_tokens for record in told)
    assert total(found, "penstock_output_tokens_total") == sum(record.output_tokens for record in told)
    assert total(found, "penstock_request_bytes_total") == sum(record.bytes_in for record in records)
    assert total(found, "penstock_attempts_total") == sum(len(record.attempts) for record in records)
    assert total(found, "penstock_retries_total") == sum(max(0, len(record.attempts) - 1) for record in records)
    refused = sum(record.status == 429 and record.error == "queue_full" for record in records)
    assert total(found, "penstock_requests_refused_total") == refused
    counted = sum(record.tokens_source is TokenSource.COUNTED for record in records)
    assert total(found, "penstock_requests_without_usage_total") == counted
    for labels, value in found["penstock_requests_total"]:
        same = [
            record
            for record in records
            if (record.model, record.engine, str(record.status), record.outcome)
            == (labels["model"], labels["engine"], labels["status"], labels["outcome"])
        ]
        assert value == len(same)


@settings(deadline=None)
@given(records=RECORDS)
def test_histograms_are_cumulative_and_exact_at_their_bounds(records: list[Record]) -> None:
    found = samples(text_of(records))
    histograms = {
        "penstock_request_duration_seconds": [record.duration_s for record in records],
        "penstock_time_to_first_token_seconds": [r.ttft_s for r in records if r.ttft_s is not None],
        "penstock_time_per_output_token_seconds": [r.tpot_s for r in records if r.tpot_s is not None],
    }
    for name, values in histograms.items():
        assert total(found, f"{name}_count") == len(values)
        assert abs(total(found, f"{name}_sum") - sum(values)) <= 1e-6 * (1 + sum(values))
        by_labels: dict[tuple[str, ...], list[tuple[float, float]]] = defaultdict(list)
        for labels, value in found[f"{name}_bucket"]:
            rest = tuple(v for key, v in sorted(labels.items()) if key != "le")
            by_labels[rest].append((float(labels["le"]), value))
        at_bound: dict[float, float] = defaultdict(float)
        for series in by_labels.values():
            counts = [value for _, value in series]
            assert series == sorted(series)
            assert counts == sorted(counts), "a bucket holds all below it"
            assert series[-1][0] == float("inf")
            for bound, value in series:
                at_bound[bound] += value
        for bound, value in at_bound.items():
            assert value == sum(observed <= bound for observed in values), "a bound is part of its bucket"


def test_bounds_for_service_levels_are_exact() -> None:
    for family in (buckets.LATENCY, buckets.FIRST_TOKEN):
        assert {0.1, 0.2, 0.25, 0.4, 0.5, 1.0, 2.0} <= set(family)
    for family in (buckets.LATENCY, buckets.FIRST_TOKEN, buckets.TOKEN):
        assert list(family) == sorted(set(family))


def test_every_metric_of_the_catalogue_is_there_from_the_start() -> None:
    text = render((*SHEETS, *PLATFORM), {}).decode()
    named = {family.name: family.type for family in text_string_to_metric_families(text)}
    declared = {metric.name: metric.kind for sheet in (*SHEETS, *PLATFORM) for metric in sheet.metrics}
    assert named == {name: kind.value for name, kind in declared.items()}
    assert len(declared) == sum(len(sheet.metrics) for sheet in (*SHEETS, *PLATFORM)), "a name stands once"
    assert set(declared.values()) == set(Kind)


def test_what_nobody_knows_is_no_series_and_a_zero_is_one() -> None:
    row = [0.0, nan, 0.25, nan, nan, nan, 1.5]
    found = samples(render(PLATFORM, {("engine_signals", ("a",)): row}).decode())
    assert {name: rows for name, rows in found.items() if rows} == {
        "penstock_engine_requests_running": [({"engine": "a"}, 0.0)],
        "penstock_engine_kv_utilisation": [({"engine": "a"}, 0.25)],
        "penstock_engine_load_age_seconds": [({"engine": "a"}, 1.5)],
    }


def test_the_depths_of_all_workers_add_up() -> None:
    totals = Totals()
    for depth in (2, 3):
        descriptor = create_file()
        try:
            meter = Meter(SeriesWriter(descriptor, SHEETS))
            meter.show_queue("m", "fast", depth)
            meter.flush()
            totals.add(SeriesReader(descriptor, SHEETS), gauges=True)
        finally:
            os.close(descriptor)
    found = samples(render(SHEETS, totals.rows).decode())
    assert found["penstock_queue_requests"] == [({"model": "m", "pool": "fast"}, 5.0)]
