"""Baselines: sets of runs that are kept for ever. Pure: bytes in, bytes out; the CLI writes the files.

A folder per contract holds `0001-2026-11-27.json.gz` and so on, and `index.jsonl` with the SHA-256 of each and of the
line before: a file that was changed or taken away is found.
"""

import gzip
import hashlib
from collections.abc import Mapping, Sequence

import msgspec

from penstock.bench.contract.contract import RunSet
from penstock.core.errors import PenstockError

START = "0" * 64
_DECODER = msgspec.json.Decoder(RunSet)


class Broken(PenstockError):
    """A baseline is not what it was when it was made."""


class Line(msgspec.Struct, frozen=True):
    """One baseline in the index."""

    number: int
    file: str
    sha256: str
    prev: str
    """SHA-256 of the index line before."""


def packed(runs: RunSet) -> bytes:
    """A set as it is stored: the same set gives the same bytes."""
    return gzip.compress(msgspec.json.encode(runs), compresslevel=9, mtime=0)


def unpacked(data: bytes) -> RunSet:
    """Raises Broken for what is no set of runs."""
    try:
        return _DECODER.decode(gzip.decompress(data))
    except (OSError, EOFError, msgspec.MsgspecError) as error:
        raise Broken(f"not a set of runs: {error}") from error


def lines(index: bytes) -> list[Line]:
    """The index. Raises Broken where a line is not what followed the one before."""
    found: list[Line] = []
    prev = START
    for number, raw in enumerate(_raw(index), 1):
        try:
            line = msgspec.json.decode(raw, type=Line)
        except (msgspec.MsgspecError, UnicodeDecodeError) as error:
            raise Broken(f"line {number} of the index is no entry: {error}") from error
        if line.number != number or line.prev != prev:
            raise Broken(f"line {number} of the index does not follow the one before")
        prev = hashlib.sha256(raw).hexdigest()
        found.append(line)
    return found


def check(found: Sequence[Line], files: Mapping[str, bytes]) -> None:
    """Raises Broken for a baseline that is absent or was changed."""
    for line in found:
        data = files.get(line.file)
        if data is None:
            raise Broken(f"{line.file} is in the index and not in the folder; baselines are never removed")
        if hashlib.sha256(data).hexdigest() != line.sha256:
            raise Broken(f"{line.file} was changed after it was made; take the committed one back")


def appended(index: bytes, day: str, data: bytes) -> tuple[str, bytes]:
    """(file name, index line) of a further baseline."""
    known = _raw(index)
    number = len(lines(index)) + 1
    prev = hashlib.sha256(known[-1]).hexdigest() if known else START
    name = f"{number:04}-{day}.json.gz"
    return name, msgspec.json.encode(Line(number, name, hashlib.sha256(data).hexdigest(), prev)) + b"\n"


def _raw(index: bytes) -> list[bytes]:
    return index.split(b"\n")[:-1]
