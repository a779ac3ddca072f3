"""BurstGPT: Timestamp,Session ID,Elapsed time,Model,Request tokens,Response tokens,Total tokens,Log Type.

Timestamps are seconds. Earlier releases have no Session ID and no Elapsed time; neither is needed. Failed requests have
0 response tokens. Source: Wang et al., "BurstGPT", KDD 2025.
"""

from collections.abc import Iterable, Iterator

from penstock.bench.traffic.traces.row import Row, seconds, tokens
from penstock.bench.traffic.traces.table import cells, has

COLUMNS = ("Timestamp", "Model", "Request tokens", "Response tokens")


def recognises(line: str) -> bool:
    return has(line, COLUMNS)


def rows(lines: Iterable[str], file: str) -> Iterator[Row]:
    """Raises ConfigError."""
    for number, (stamp, model, given, made) in cells(lines, file, COLUMNS):
        yield Row(
            seconds(file, number, COLUMNS[0], stamp),
            tokens(file, number, COLUMNS[2], given),
            tokens(file, number, COLUMNS[3], made),
            model=model.strip(),
        )
