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
            yield number, decode(line)
        except msgspec.ValidationError as error:
            raise _refusal(file, number, line, str(error)) from None
        except msgspec.DecodeError as error:
            raise ConfigError(f"{file}:{number}: not JSON: {error}; write one object per line") from None


def keys(line: str) -> frozenset[str]:
    """Names of the fields of an object; none for a line that is no object."""
    try:
        return frozenset(msgspec.json.decode(line, type=dict[str, msgspec.Raw]))
    except msgspec.MsgspecError:
        return frozenset()


def _refusal(file: str, number: int, line: str, text: str) -> ConfigError:
    """`Expected int - at $.a.b` -> the value that stands there."""
    said, _, place = text.partition(" - at `$")
    path = place.strip("`.")
    value: Any = msgspec.json.decode(line)
    for name in path.split(".") if path else ():
        inner = name.partition("[")[0]
        value = value.get(inner) if hasattr(value, "get") else value
    return wrong(file, number, path or "the line", value, said)
