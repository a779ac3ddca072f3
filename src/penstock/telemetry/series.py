"""Numbers of the catalogue in a file that a worker maps and the supervisor reads.

One writer, no locks: what a worker has flushed survives its death by `kill -9`. Layout: an 8-byte
length of what is valid, then blocks of [4-byte length of key | key (JSON: sheet index, label values) | padding to 8 |
float64 per slot]. The length is moved after a block is whole.
"""

import mmap
import os
import struct
import tempfile
from array import array
from collections.abc import Iterator
from typing import TypeAlias

import msgspec

from penstock.telemetry.catalogue import WORKER, Sheet

CAPACITY = 32 * 1024 * 1024
"""Bytes of address space; the file is sparse, so only used pages take memory."""
LABEL_VALUES = 1_000
"""Values a label may take in one worker; the rest are counted under `other`."""
OTHER = "other"
HEADER = 8

Block: TypeAlias = "memoryview[float]"
"""float64 slots of one label set in the file."""


class Row:
    """The numbers of one label set in the worker. Written in place, then marked, then flushed with the others."""

    __slots__ = ("_block", "marked", "numbers")

    def __init__(self, block: Block) -> None:
        self._block = block
        self.numbers: list[float] = list(block)
        self.marked = False
        """Changed since the last flush."""

    def flush(self) -> None:
        self._block[:] = memoryview(array("d", self.numbers))
        self.marked = False


def create_file() -> int:
    """An unlinked file for one worker; returns its descriptor."""
    with tempfile.TemporaryFile(prefix="penstock-series-") as file:
        descriptor = os.dup(file.fileno())
    os.ftruncate(descriptor, CAPACITY)
    return descriptor


class SeriesWriter:
    """The worker's side. `row` finds or makes the numbers of a label set."""

    def __init__(self, descriptor: int, sheets: tuple[Sheet, ...]) -> None:
        self._map = mmap.mmap(descriptor, CAPACITY)
        self._doubles = memoryview(self._map).cast("d")
        self._used = HEADER
        self._sheets = {sheet.name: (index, sheet) for index, sheet in enumerate(sheets)}
        self._rows: dict[tuple[str, tuple[str, ...]], Row] = {}
        self._values: dict[tuple[str, int], set[str]] = {}
        self._marked: list[Row] = []
        # The row that takes what no longer fits exists from the start.
        for sheet in sheets:
            self.row(sheet, (OTHER,) * len(sheet.labels))

    def row(self, sheet: Sheet, labels: tuple[str, ...]) -> Row:
        """The numbers for `labels`, in the order of `sheet.labels`. The same object on every call."""
        key = (sheet.name, labels)
        row = self._rows.get(key)
        if row is None:
            bounded = self._bounded(sheet, labels)
            row = self._rows.get((sheet.name, bounded)) or self._make(sheet, bounded)
            # Kept under what was written alone: values that fold are as many as there are clients with ideas.
            self._rows[sheet.name, bounded] = row
        return row

    def mark(self, row: Row) -> None:
        """Notes that a row's numbers have changed."""
        if not row.marked:
            row.marked = True
            self._marked.append(row)

    def flush(self) -> None:
        """Copies what changed into the file: one copy per row, however often it was counted up."""
        for row in self._marked:
            row.flush()
        self._marked.clear()

    def _bounded(self, sheet: Sheet, labels: tuple[str, ...]) -> tuple[str, ...]:
        kept = []
        for label, value in zip(sheet.labels, labels, strict=True):
            seen = self._values.setdefault((sheet.name, sheet.labels.index(label)), {OTHER})
            if value not in seen and len(seen) >= LABEL_VALUES:
                value = OTHER
            seen.add(value)
            kept.append(value)
        return tuple(kept)

    def _make(self, sheet: Sheet, labels: tuple[str, ...]) -> Row:
        index, _ = self._sheets[sheet.name]
        key = msgspec.json.encode((index, labels))
        start = self._used + 4 + len(key)
        start += -start % 8
        end = start + 8 * sheet.slots
        if end > CAPACITY:
            return self._rows[sheet.name, (OTHER,) * len(sheet.labels)]
        self._map[self._used : self._used + 4] = struct.pack("<I", len(key))
        self._map[self._used + 4 : self._used + 4 + len(key)] = key
        self._used = end
        self._map[:HEADER] = struct.pack("<Q", end)
        return Row(self._doubles[start // 8 : end // 8])


class SeriesReader:
    """The supervisor's side: reads a worker's numbers, while it lives or after."""

    def __init__(self, descriptor: int, sheets: tuple[Sheet, ...]) -> None:
        self._map = mmap.mmap(descriptor, CAPACITY, prot=mmap.PROT_READ)
        self._doubles = memoryview(self._map).cast("d")
        self._sheets = sheets
        self._at = HEADER
        self._rows: list[tuple[Sheet, tuple[str, ...], Block]] = []

    def rows(self) -> Iterator[tuple[Sheet, tuple[str, ...], Block]]:
        """Every (sheet, label values, numbers) written so far."""
        (valid,) = struct.unpack("<Q", self._map[:HEADER])
        while self._at < valid:
            (size,) = struct.unpack("<I", self._map[self._at : self._at + 4])
            key = self._map[self._at + 4 : self._at + 4 + size]
            index, labels = msgspec.json.decode(key, type=tuple[int, tuple[str, ...]])
            sheet = self._sheets[index]
            start = self._at + 4 + size
            start += -start % 8
            self._at = start + 8 * sheet.slots
            self._rows.append((sheet, labels, self._doubles[start // 8 : self._at // 8]))
        return iter(self._rows)


class Totals:
    """Numbers added up over workers: those that live and those that are gone."""

    def __init__(self) -> None:
        self.rows: dict[tuple[str, tuple[str, ...]], list[float]] = {}

    def add(self, reader: SeriesReader, *, gauges: bool) -> None:
        """Adds a worker's rows. A worker that is gone keeps its counters but holds nothing: `gauges` is False. What
        is told of this worker alone goes with it, else workers that die would leave ever more series behind.
        """
        for sheet, labels, row in reader.rows():
            if WORKER in sheet.labels and not gauges:
                continue
            numbers = self.rows.setdefault((sheet.name, labels), [0.0] * sheet.slots)
            at = 0
            for metric in sheet.metrics:
                if gauges or metric.kind != "gauge":
                    for slot in range(at, at + metric.slots):
                        numbers[slot] += row[slot]
                at += metric.slots

    def copy(self) -> "Totals":
        other = Totals()
        other.rows = {key: list(numbers) for key, numbers in self.rows.items()}
        return other
