"""Where chains lie: `WRITER.DAY.jsonl`, one file a day (UTC) and writer, and `anchors.jsonl`."""

import datetime
import re
from collections.abc import Iterator
from pathlib import Path

import msgspec

from penstock.state.audit.line import Line, parse

ANCHORS = "anchors"
"""The writer of anchors; its chain has one file."""
NAME = re.compile(r"([a-z]+(?:-\d+)?)\.(\d{4}-\d\d-\d\d)\.jsonl")
BESIDE = frozenset({".lock", ".torn", ".new"})
"""Endings of what lies beside the chains."""
BLOCK = 1 << 20


class DayFile(msgspec.Struct, frozen=True, order=True):
    """A file of a chain."""

    writer: str
    day: str
    """ISO 8601; empty for anchors."""
    path: Path

    @property
    def name(self) -> str:
        return self.path.name


def day_of(time: float) -> str:
    """The day in UTC of seconds since the epoch."""
    return datetime.datetime.fromtimestamp(time, datetime.UTC).date().isoformat()


def file_name(writer: str, day: str) -> str:
    return f"{writer}.{day}.jsonl" if day else f"{writer}.jsonl"


def day_files(folder: Path, writer: str | None = None) -> list[DayFile]:
    """The files of one chain, or of every chain but that of the anchors; oldest first, writer by writer."""
    if writer == ANCHORS:
        path = folder / file_name(ANCHORS, "")
        return [DayFile(ANCHORS, "", path)] if path.is_file() else []
    found = []
    for path in folder.glob("*.jsonl"):
        named = NAME.fullmatch(path.name)
        if named and writer in (None, named[1]) and path.is_file():
            found.append(DayFile(named[1], named[2], path))
    return sorted(found)


def strangers(folder: Path) -> list[Path]:
    """Files of the folder that this log does not write."""
    known = {file.path for file in day_files(folder)} | {folder / file_name(ANCHORS, "")}
    return sorted(
        path for path in folder.iterdir() if path not in known and path.suffix not in BESIDE and path.is_file()
    )


class Tail(msgspec.Struct, frozen=True):
    """How a file ends."""

    line: Line | None
    """The last whole line that is what was written; None when there is none."""
    end: int
    """Bytes up to and with its line end."""
    size: int
    """Bytes of the file. What lies between `end` and `size` is not a line of the chain."""


def tail_of(path: Path) -> Tail:
    """Reads backwards to the last good line: one block, unless the file is damaged."""
    with path.open("rb") as file:
        size = file.seek(0, 2)
        reach = 0
        while True:
            reach = min(size, max(BLOCK, 2 * reach))
            file.seek(size - reach)
            block = file.read(reach)
            # A block may begin inside a line, which is no line then; the next, longer block has all of it.
            stop = len(block)
            while (stop := block.rfind(b"\n", 0, stop)) >= 0:
                begin = block.rfind(b"\n", 0, stop) + 1
                if begin == 0 and reach < size:
                    break
                if line := parse(block[begin:stop]):
                    return Tail(line, size - reach + stop + 1, size)
            if reach == size:
                return Tail(None, 0, size)


def lines_of(path: Path) -> Iterator[tuple[int, bytes]]:
    """(number from 1, line with its line end) of a file. The last one may lack the line end."""
    with path.open("rb") as file:
        yield from enumerate(file, 1)
