"""Lines of all chains in the order of their times, for people and for export."""

import heapq
from collections.abc import Iterator
from pathlib import Path

import msgspec

from penstock.state.audit.files import ANCHORS, DayFile, day_files, lines_of
from penstock.state.audit.line import Line, parse


class Shown(msgspec.Struct, frozen=True):
    """A line and its place."""

    line: Line
    writer: str
    file: str
    number: int
    """In its file, from 1."""


class Filter(msgspec.Struct, frozen=True):
    """What to show. Empty fields let everything through."""

    kinds: tuple[str, ...] = ()
    actor: str = ""
    """Beginning of the actor."""
    what: str = ""
    """Part of what was done."""
    since: float = 0.0
    """Seconds since the epoch."""
    until: float = float("inf")

    def takes(self, shown: Shown) -> bool:
        body = shown.line.body
        return (
            self.since <= body.time < self.until
            and (not self.kinds or body.kind in self.kinds)
            and body.actor.startswith(self.actor)
            and self.what in body.what
        )


def read(folder: Path, wanted: Filter) -> Iterator[Shown]:
    """Sound lines that the filter takes, oldest first. What is damaged is left to `verify`. Holds a line per chain."""
    by_writer: dict[str, list[DayFile]] = {}
    for file in (*day_files(folder), *day_files(folder, ANCHORS)):
        by_writer.setdefault(file.writer, []).append(file)
    chains = [filter(wanted.takes, _lines(chain)) for chain in by_writer.values()]
    return heapq.merge(*chains, key=lambda shown: shown.line.body.time)


def _lines(files: list[DayFile]) -> Iterator[Shown]:
    for file in files:
        for number, raw in lines_of(file.path):
            if raw.endswith(b"\n") and (line := parse(raw[:-1])):
                yield Shown(line, file.writer, file.name, number)
