"""Anchors: the heads of all chains in one line, so that a chain cut short or removed is noticed.

Anchors are a chain themselves, in one file. What that file cannot prove about its own end, a copy of one anchor
elsewhere does: its hash binds everything before it.
"""

import os
from pathlib import Path

import msgspec

from penstock.core.errors import ConfigError
from penstock.state.audit.files import ANCHORS, day_files, day_of, file_name, lines_of, tail_of
from penstock.state.audit.line import Head, Key, Line, parse
from penstock.state.audit.lock import held
from penstock.state.audit.writer import ACTOR, ChainWriter

ANCHOR = "anchor"


class Anchor(msgspec.Struct, frozen=True):
    """One anchor as it was read."""

    line: Line
    """Its `raw` bytes are what is stored elsewhere."""
    heads: dict[str, Head]
    """Writer -> the last line of its chain."""


class _Fields(msgspec.Struct):
    heads: dict[str, Head]


def read_anchor(raw: bytes) -> Anchor | None:
    """None when the line is no anchor, or not what was written."""
    line = parse(raw)
    if line is None or line.body.kind != ANCHOR:
        return None
    try:
        return Anchor(line, msgspec.convert(line.body.fields, _Fields).heads)
    except msgspec.ValidationError:
        return None


def stored_anchor(text: str, folder: Path) -> Anchor:
    """An anchor by the file that holds its line, or by the hash of one of the folder. Raises ConfigError."""
    if len(text) == 64 and not set(text) - set("0123456789abcdef"):
        for anchor in anchors(folder):
            if anchor.line.hash == text:
                return anchor
        raise ConfigError(f"--anchor: {text} is not in {folder / file_name(ANCHORS, '')}: the log was cut or replaced")
    try:
        raw = Path(text).read_bytes().strip()
    except OSError as error:
        raise ConfigError(f"--anchor: cannot read {text!r}: {error.strerror}; give a file or 64 hex digits") from None
    if found := read_anchor(raw):
        return found
    raise ConfigError(f"--anchor: {text!r} does not hold the line of an anchor as it was exported")


def anchors(folder: Path) -> list[Anchor]:
    """Every sound anchor of the folder, in order."""
    path = folder / file_name(ANCHORS, "")
    if not path.is_file():
        return []
    return [anchor for _, raw in lines_of(path) if (anchor := read_anchor(raw.rstrip(b"\n")))]


def anchor_now(folder: Path, why: str, key: Key | None, now: float) -> Anchor:
    """Writes an anchor, after the disk has all that it names. Blocks; raises OSError."""
    with held(folder, ANCHORS):
        heads = {writer: head for writer in writers(folder) if (head := _synced_head(folder, writer))}
        writer = ChainWriter(folder, ANCHORS, key, daily=False)
        try:
            chain = writer.begin(now)
            chain.add(now, ANCHOR, ACTOR, why, {"heads": heads})
            writer.commit(sync=True)
        finally:
            writer.close()
        written = tail_of(folder / file_name(ANCHORS, "")).line
        assert written is not None
        return Anchor(written, heads)


def due(folder: Path, last: Anchor | None, now: float) -> str:
    """Why an anchor is wanted now: `daily`, or a `chain` that no anchor names. Empty: it is not."""
    if last is None or day_of(last.line.body.time) != day_of(now):
        return "daily"
    return "chain" if writers(folder) - last.heads.keys() else ""


def writers(folder: Path) -> set[str]:
    """Who has a chain here."""
    return {file.writer for file in day_files(folder)}


def _synced_head(folder: Path, writer: str) -> Head | None:
    for file in reversed(day_files(folder, writer)):
        with file.path.open("rb") as opened:
            os.fdatasync(opened.fileno())
        if line := tail_of(file.path).line:
            return line.head
    return None
