"""Azure's LLM inference traces of 2023 and 2024: TIMESTAMP,ContextTokens,GeneratedTokens.

Stamps are ISO 8601 with up to seven digits of a second, in 2024 with an offset; one without is taken for UTC. Source:
the Azure Public Dataset (Patel et al., ISCA 2024; Stojkovic et al., HPCA 2025).
"""

from collections.abc import Iterable, Iterator
from datetime import UTC, datetime

from penstock.bench.traffic.traces.row import Row, tokens, wrong
from penstock.bench.traffic.traces.table import cells, has

COLUMNS = ("TIMESTAMP", "ContextTokens", "GeneratedTokens")
ORIGIN = datetime(2020, 1, 1, tzinfo=UTC)


def recognises(line: str) -> bool:
    return has(line, COLUMNS)


def rows(lines: Iterable[str], file: str) -> Iterator[Row]:
    """Raises ConfigError."""
    for number, (stamp, given, made) in cells(lines, file, COLUMNS):
        try:
            moment = datetime.fromisoformat(stamp.strip())
        except ValueError:
            raise wrong(file, number, COLUMNS[0], stamp, "write it like 2023-11-16 18:15:46.680590") from None
        known = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
        yield Row(
            (known - ORIGIN).total_seconds(),
            tokens(file, number, COLUMNS[1], given),
            tokens(file, number, COLUMNS[2], made),
        )
