"""CSV with a header -> the cells that are wanted, by the names of their columns."""

import csv
from collections.abc import Iterable, Iterator, Sequence

from penstock.bench.traffic.traces.row import wrong
from penstock.core.errors import ConfigError


def cells(lines: Iterable[str], file: str, wanted: Sequence[str]) -> Iterator[tuple[int, list[str]]]:
    """(number of the line, cells in the order of `wanted`); empty lines are passed over. Raises ConfigError."""
    reader = csv.reader(lines)
    places: list[int] = []
    try:
        for found in reader:
            if not found:
                continue
            if not places:
                places = _places(found, file, reader.line_num, wanted)
            elif len(found) <= max(places):
                raise wrong(file, reader.line_num, wanted[places.index(max(places))], None, "write every column")
            else:
                yield reader.line_num, [found[place] for place in places]
    except csv.Error as error:
        raise ConfigError(f"{file}:{reader.line_num}: not CSV: {error}; write one request per line") from None


def has(line: str, wanted: Sequence[str]) -> bool:
    """Whether a line is a header with these columns."""
    return not set(wanted) - {name.strip() for name in next(csv.reader([line]), [])}


def _places(header: list[str], file: str, line: int, wanted: Sequence[str]) -> list[int]:
    names = [name.strip() for name in header]
    for name in wanted:
        if name not in names:
            raise wrong(file, line, "the header", ",".join(names), f"it needs a column {name!r}")
    return [names.index(name) for name in wanted]
