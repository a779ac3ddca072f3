"""Every bar of every `results/*/latest.json`, as one table: `python -m benchmarks.bars`.

A missed bar is printed as MISSED and is no error; the exit status is 1 only for a file that cannot be read as bars.
"""

from __future__ import annotations

import json
import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from rich.console import Console
from rich.table import Table

RESULTS = Path(__file__).resolve().parents[1] / "results"


@dataclass(frozen=True, slots=True)
class Bar:
    """A figure and what it must reach. `value` None: not measured, so it does not hold; `why` says why not."""

    name: str
    value: float | None
    limit: float
    unit: str
    better: Literal["lower", "higher"] = "lower"
    strict: bool = False
    why: str = ""

    @property
    def holds(self) -> bool:
        if self.value is None:
            return False
        if self.value == self.limit:
            return not self.strict
        return (self.value < self.limit) == (self.better == "lower")

    def as_json(self) -> dict[str, object]:
        shown = {key: value for key, value in asdict(self).items() if key != "why" or value}
        return shown | {"holds": self.holds}


class Malformed(Exception):
    """A results file without well-formed bars."""


def read_bars(path: Path) -> list[dict[str, Any]]:
    """The `bars` of a results file. Raises Malformed."""
    try:
        bars = json.loads(path.read_text())["bars"]
        for bar in bars:
            if not isinstance(bar["holds"], bool) or not isinstance(bar["name"], str):
                raise Malformed(f"{path}: bar {bar!r} needs a name and a boolean `holds`")
            if not isinstance(bar["value"], int | float | None) or not isinstance(bar["limit"], int | float):
                raise Malformed(f"{path}: bar {bar['name']} needs a number for `value` and `limit`")
            str(bar["unit"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise Malformed(f"{path}: {error!r}") from error
    return list(bars)


def table(rows: list[tuple[str, dict[str, Any]]]) -> Table:
    shown = Table("of", "bar", "value", "limit", "unit", "", "why", box=None, pad_edge=False)
    for source, bar in rows:
        value = "-" if bar["value"] is None else f"{bar['value']:g}"
        least = bar.get("better") == "higher"
        sign = (">" if least else "<") + ("" if bar.get("strict") else "=")
        verdict = "[green]holds[/green]" if bar["holds"] else "[bold red]MISSED[/bold red]"
        shown.add_row(source, bar["name"], value, f"{sign} {bar['limit']:g}", bar["unit"], verdict, bar.get("why", ""))
    return shown


def main(results: Path = RESULTS) -> int:
    rows, broken = [], []
    for path in sorted(results.glob("*/latest.json")):
        try:
            rows += [(path.parent.name, bar) for bar in read_bars(path)]
        except Malformed as error:
            broken.append(str(error))
    Console(width=None if sys.stdout.isatty() else 140).print(table(rows))
    for line in broken:
        print(line, file=sys.stderr)
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main())
