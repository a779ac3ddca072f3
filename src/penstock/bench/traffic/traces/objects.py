"""JSON lines -> structs."""

from collections.abc import Iterable, Iterator
from typing import Any, TypeVar

import msgspec

from penstock.bench.traffic.traces.row import wrong
from penstock.core.errors import ConfigError

T = TypeVar("T")


def objects(lines: Iterable[str], file: str, kind: type[T]) -> Iterator[tuple[int, T]]:
    """(number of the line, what it says); empty lines are passed over. Raises ConfigError that names the field."""
    decode = msgspec.json.Decoder(kind).decode
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            found = decode(line)
        except msgspec.DecodeError as error:
            raise _refusal(file, number, line, error) from None
        yield number, found


def keys(line: str) -> frozenset[str]:
    """Names of the fields of an object; none for a line that is no object."""
    try:
        return frozenset(msgspec.json.decode(line, type=dict[str, msgspec.Raw]))
    except msgspec.MsgspecError:
        return frozenset()


def _refusal(file: str, number: int, line: str, error: Exception) -> ConfigError:
    """`Expected int - at $.a.b` -> the value that stands there."""
    try:
        value: Any = msgspec.json.decode(line)
    except msgspec.DecodeError as problem:
        return ConfigError(f"{file}:{number}: not JSON: {problem}; write one object per line")
    said, _, place = str(error).partition(" - at `$")
    path = place.strip("`.")
    for name in path.split(".") if path else ():
        match value:
            case dict():
                value = value.get(name.partition("[")[0])
    return wrong(file, number, path or "the line", value, said)
