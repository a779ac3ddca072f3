"""The reader's side of journals: which writers there are, what they wrote since, and whether they are gone."""

import os
from collections.abc import Iterable
from pathlib import Path

import msgspec

from penstock.core.clock import wall
from penstock.state.ledger.entries import Closed, Entry, Opened
from penstock.state.ledger.segment import LATE, NAME, START, abandoned, count, read

DECODER = msgspec.msgpack.Decoder(Opened | Closed)
LATE_S = 60.0
"""Seconds after which a segment that was never finished is nobody's."""
DAMAGED = ".damaged"
"""Ends the name of a segment that could not be read to its end. Nothing deletes it."""


class Place(msgspec.Struct, frozen=True):
    """How far a writer's journal was shipped."""

    segment: int = 0
    offset: int = START
    entries: int = 0
    """Before `offset`, in the segment."""


class Part(msgspec.Struct):
    """What follows a Place."""

    entries: list[Entry]
    place: Place
    """Behind them."""
    over: bool = False
    """The writer is gone, and this is its end."""
    more: bool = False
    """There is more to read already."""
    done: list[Path] = []
    """Segments that hold nothing else: they may go once this part is shipped."""
    damaged: list[Path] = []
    """Segments that are broken behind what was read of them."""


def writers(folder: Path) -> dict[str, list[int]]:
    """Every writer with a journal in `folder`, and its segments in order. What a dead one left half made is removed."""
    found: dict[str, list[int]] = {}
    for name in _names(folder):
        if match := NAME.fullmatch(name):
            found.setdefault(match[1], []).append(int(match[2]))
        elif name.endswith(LATE):
            _sweep(folder / name)
    return {writer: sorted(segments) for writer, segments in sorted(found.items())}


def path_of(folder: Path, writer: str, segment: int) -> Path:
    return folder / f"{writer}-{segment:08}.jnl"


def follow(folder: Path, writer: str, segments: Iterable[int], place: Place, most_bytes: int) -> Part:
    """The next part of a writer's journal."""
    part = Part([], place)
    for number in segments:
        path = path_of(folder, writer, number)
        if number < place.segment:  # shipped before, by a process that died before it could remove it
            part.done.append(path)
            continue
        begin = place if number == place.segment else Place(number)
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            complete = abandoned(descriptor)  # asked first: what is read afterwards is then the whole
            reading = read(descriptor, begin.offset, most_bytes)
        finally:
            os.close(descriptor)
        end, whole = _decode(reading.payloads, begin, part.entries)
        part.place = end
        most_bytes -= end.offset - begin.offset
        if complete and (reading.damaged or not whole):
            part.damaged.append(path)
        elif end.offset < reading.committed or not complete:
            part.more = whole and not reading.damaged and end.offset < reading.committed
            return part
        else:
            part.done.append(path)
    part.over = True
    return part


def waiting(folder: Path, writer: str, segments: Iterable[int], place: Place) -> int:
    """Entries of a writer's journal behind a Place."""
    total = 0
    for number in segments:
        if number >= place.segment:
            descriptor = os.open(path_of(folder, writer, number), os.O_RDONLY | os.O_CLOEXEC)
            try:
                total += count(descriptor) - (place.entries if number == place.segment else 0)
            finally:
                os.close(descriptor)
    return total


def _decode(payloads: list[bytes], begin: Place, into: list[Entry]) -> tuple[Place, bool]:
    """Decodes entries up to the first that is none; whether all were entries."""
    offset, entries = begin.offset, begin.entries
    for payload in payloads:
        try:
            into.append(DECODER.decode(payload))
        except msgspec.MsgspecError:
            return Place(begin.segment, offset, entries), False
        offset += 8 + len(payload)
        entries += 1
    return Place(begin.segment, offset, entries), True


def _names(folder: Path) -> list[str]:
    try:
        return os.listdir(folder)
    except FileNotFoundError:
        return []


def _sweep(path: Path) -> None:
    """Removes a file whose maker died; a young one may be about to take its lock."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return
    try:
        if wall() - os.fstat(descriptor).st_mtime > LATE_S and abandoned(descriptor):
            path.unlink(missing_ok=True)
    finally:
        os.close(descriptor)
