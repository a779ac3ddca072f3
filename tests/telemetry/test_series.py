"""What workers write and the supervisor reads: the same numbers, whoever comes first, whatever the labels."""

import os
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

from hypothesis import given, settings
from hypothesis import strategies as st

from penstock.telemetry.catalogue import ENGINE_LOAD, PROCESS, REQUESTS, SHEETS, TRAFFIC, Sheet
from penstock.telemetry.series import LABEL_VALUES, OTHER, SeriesReader, SeriesWriter, Totals, create_file

LABEL = st.text(st.characters(codec="utf-8"), max_size=12)
WRITES = st.lists(
    st.sampled_from(SHEETS).flatmap(
        lambda sheet: st.tuples(
            st.just(sheet),
            st.tuples(*[LABEL for _ in sheet.labels]),
            st.integers(0, sheet.slots - 1),
            st.integers(1, 1000),
        )
    ),
    max_size=40,
)


@contextmanager
def file() -> Iterator[int]:
    descriptor = create_file()
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def add(writer: SeriesWriter, sheet: Sheet, labels: tuple[str, ...], slot: int, amount: float) -> None:
    row = writer.row(sheet, labels)
    row.numbers[slot] += amount
    writer.mark(row)


def numbers(reader: SeriesReader) -> dict[tuple[str, tuple[str, ...], int], float]:
    return {
        (sheet.name, labels, slot): value
        for sheet, labels, row in reader.rows()
        for slot, value in enumerate(row)
        if value
    }


@settings(deadline=None)
@given(writes=WRITES, late=st.integers(0, 40))
def test_the_reader_finds_what_was_written(writes: list[tuple[Sheet, tuple[str, ...], int, int]], late: int) -> None:
    """Readers attach before everything, after everything, and in between; flushed again, nothing counts twice."""
    with file() as descriptor:
        writer = SeriesWriter(descriptor, SHEETS)
        early, between = SeriesReader(descriptor, SHEETS), None
        expected: Counter[tuple[str, tuple[str, ...], int]] = Counter()
        for number, (sheet, labels, slot, amount) in enumerate(writes):
            if number == late:
                between = SeriesReader(descriptor, SHEETS)
                list(between.rows())
            add(writer, sheet, labels, slot, amount)
            expected[sheet.name, labels, slot] += amount
            if number % 3 == 0:
                writer.flush()
                assert numbers(early) == {key: float(value) for key, value in expected.items()}
        writer.flush()
        writer.flush()
        for reader in (early, between, SeriesReader(descriptor, SHEETS)):
            if reader is not None:
                assert numbers(reader) == expected


def test_what_is_not_flushed_is_not_seen() -> None:
    with file() as descriptor:
        writer = SeriesWriter(descriptor, SHEETS)
        add(writer, PROCESS, (), 0, 1)
        assert numbers(SeriesReader(descriptor, SHEETS)) == {}
        writer.flush()
        assert numbers(SeriesReader(descriptor, SHEETS)) == {("process", (), 0): 1.0}


def test_a_label_with_too_many_values_folds_and_loses_nothing() -> None:
    """The rows a stranger can make are bounded, in every place a label stands."""
    with file() as descriptor:
        writer = SeriesWriter(descriptor, SHEETS)
        for number in range(3 * LABEL_VALUES):
            add(writer, REQUESTS, ("/v1/a", f"model-{number}", "engine", "200", "success"), 0, 1)
            add(writer, ENGINE_LOAD, (f"engine-{number}",), 0, 1)
        writer.flush()
        rows = [(sheet, labels, list(row)) for sheet, labels, row in SeriesReader(descriptor, SHEETS).rows()]
        for sheet, at in ((REQUESTS, 1), (ENGINE_LOAD, 0)):
            found = {labels: row[0] for name, labels, row in rows if name is sheet}
            assert len(found) == sum(name is sheet for name, _, _ in rows), "a label set stands once"
            assert len({labels[at] for labels in found}) == LABEL_VALUES
            assert sum(found.values()) == 3 * LABEL_VALUES
            assert sum(count for labels, count in found.items() if labels[at] == OTHER) == 2 * LABEL_VALUES + 1


def test_the_same_labels_are_the_same_row() -> None:
    with file() as descriptor:
        writer = SeriesWriter(descriptor, SHEETS)
        for number in range(LABEL_VALUES + 50):
            assert writer.row(ENGINE_LOAD, (str(number),)) is writer.row(ENGINE_LOAD, (str(number),))


def test_a_file_that_is_full_counts_on_under_other() -> None:
    wide = Sheet("wide", TRAFFIC.labels, TRAFFIC.metrics * 12)
    with file() as descriptor:
        writer = SeriesWriter(descriptor, (wide,))
        for first in range(100):
            for second in range(60):
                row = writer.row(wide, (str(first), str(second), "x"))
                row.numbers[0] += 1
                writer.mark(row)
        writer.flush()
        reader = SeriesReader(descriptor, (wide,))
        assert sum(row[0] for _, _, row in reader.rows()) == 6000
        assert {labels: row[0] for _, labels, row in reader.rows()}[OTHER, OTHER, OTHER] > 0


def test_workers_are_added_up_and_the_dead_keep_their_counters_only() -> None:
    with file() as first, file() as second:
        for descriptor in (first, second):
            writer = SeriesWriter(descriptor, SHEETS)
            add(writer, ENGINE_LOAD, ("e",), 0, 2)
            add(writer, REQUESTS, ("r", "m", "e", "200", "success"), 0, 3)
            writer.flush()
        totals = Totals()
        totals.add(SeriesReader(first, SHEETS), gauges=False)
        snapshot = totals.copy()
        totals.add(SeriesReader(second, SHEETS), gauges=True)
        assert totals.rows["engine_load", ("e",)] == [2.0]
        assert totals.rows["requests", ("r", "m", "e", "200", "success")] == [6.0]
        assert snapshot.rows["requests", ("r", "m", "e", "200", "success")] == [3.0], "a copy stays as it was"
