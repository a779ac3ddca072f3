"""Lines of a file -> a trace in order."""

from collections.abc import Callable, Iterable, Iterator
from itertools import chain

import msgspec

from penstock.bench.traffic.traces import azure, burstgpt, mooncake, records
from penstock.bench.traffic.traces.row import Row
from penstock.core.errors import ConfigError
from penstock.core.registry import Registry

AUTO = "auto"


class Format(msgspec.Struct, frozen=True):
    """How a format is told by its first line, and how it is read."""

    recognises: Callable[[str], bool]
    rows: Callable[[Iterable[str], str], Iterator[Row]]


FORMATS = Registry(
    "trace format",
    {
        "azure": Format(azure.recognises, azure.rows),
        "burstgpt": Format(burstgpt.recognises, burstgpt.rows),
        "mooncake": Format(mooncake.recognises, mooncake.rows),
        "records": Format(records.recognises, records.rows),
    },
)


class Trace(msgspec.Struct, frozen=True):
    """Requests in the order of their moments, which count from the first one's."""

    form: str
    rows: list[Row]
    left_out: int = 0
    """Rows without tokens of input or output: failed, or of unknown length."""


def trace(lines: Iterable[str], file: str, form: str = AUTO, most_s: float = 0.0) -> Trace:
    """Reads all lines. `most_s`: only what came within so many seconds of the first; 0: all. Raises ConfigError."""
    name, rest = _named(iter(lines), file, form)
    kept: list[Row] = []
    left_out, first = 0, float("inf")
    for row in FORMATS[name].rows(rest, file):
        if not row.input_tokens or not row.output_tokens:
            left_out += 1
            continue
        first = min(first, row.at)  # an earlier one may come yet: what is too late now will be then
        if not most_s or row.at - first < most_s:
            kept.append(row)
    if not kept:
        raise ConfigError(f"{file}: has no request with tokens of input and output ({left_out} without); name another")
    kept.sort(key=lambda row: row.at)
    moved = (msgspec.structs.replace(row, at=row.at - first) for row in kept)
    return Trace(name, [row for row in moved if not most_s or row.at < most_s], left_out)


def _named(lines: Iterator[str], file: str, form: str) -> tuple[str, Iterable[str]]:
    """(format, all lines again)."""
    if form != AUTO:
        return form, lines
    passed: list[str] = []
    for line in lines:
        passed.append(line)
        if line.strip():
            for name in FORMATS:
                if FORMATS[name].recognises(line):
                    return name, chain(passed, lines)
            raise ConfigError(
                f"{file}:{len(passed)}: the line is {line.strip()!r:.60}, of no known format; write format: "
                f"{', '.join(FORMATS)}"
            )
    raise ConfigError(f"{file}: is empty; name a trace")
