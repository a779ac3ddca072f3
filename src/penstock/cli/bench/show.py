"""What a person sees of what came of a run."""

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click
import msgspec
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from penstock.bench.contract.contract import Contract, RunSet
from penstock.bench.measure.bound import bound
from penstock.bench.measure.figures import Figures, figures, with_resources
from penstock.bench.report.document import Document
from penstock.bench.report.page import page
from penstock.bench.report.single import run_report
from penstock.bench.report.table import KINDS, resource_rows, rows_of
from penstock.bench.report.text import markdown_of
from penstock.bench.sample import Run
from penstock.core.errors import ConfigError

WIDE = 160
"""Columns of a terminal that a row of all figures needs."""
MARKDOWN = (".md", ".markdown")


def stages_of(run: Run, contract: Contract) -> list[Figures]:
    """Figures of every stage."""
    return [
        with_resources(
            figures(stage, [sample for sample in run.samples if sample.stage == number], contract.slo), run, number
        )
        for number, stage in enumerate(run.stages)
    ]


def show(run: Run, contract: Contract) -> None:
    """A table, what bounds each stage, and whether the run is valid."""
    found = stages_of(run, contract)
    console = Console(width=None if sys.stdout.isatty() else WIDE)
    console.print(_table([rows_of(each) for each in found], upright=console.width >= WIDE))
    for number, each in enumerate(found):
        limit = bound(run, number, each)
        click.echo(f"{each.stage}: bound by {limit.what} ({limit.why})")
        if each.notice:
            click.echo(f"{each.stage}: {each.notice}")
    for stage_name, what, value in resource_rows(found):
        click.echo(f"{stage_name}: {what} {value}")
    for note in run.notes:
        click.echo(note)
    if run.invalid:
        click.echo(f"NOT VALID: {run.invalid}")


def _table(rows: Sequence[Sequence[str]], *, upright: bool) -> Table:
    """A row per stage; where the terminal is too narrow for all columns a column per stage."""
    if upright:
        table = Table(*KINDS, box=None, padding=(0, 1, 0, 0))
        for row in rows:
            table.add_row(*row)
        return table
    table = Table(KINDS[0], box=None, padding=(0, 2, 0, 0))
    for row in rows:
        table.add_column(escape(row[0]), justify="right", overflow="fold")
    for name, *cells in zip(KINDS[1:], *(row[1:] for row in rows), strict=True):
        table.add_row(name, *cells)
    return table


def summary(runs: RunSet) -> dict[str, Any]:
    """A set of runs for programs: figures and client, no samples."""
    return {
        "contract": msgspec.to_builtins(runs.contract),
        "fingerprint": runs.fingerprint,
        "made": runs.made,
        "stopped": runs.stopped,
        "runs": [
            {
                "began": run.began,
                "seed": run.seed,
                "client": msgspec.to_builtins(run.client),
                "notes": run.notes,
                "stopped": run.stopped,
                "stages": msgspec.to_builtins(stages_of(run, runs.contract)),
            }
            for run in runs.runs
        ],
    }


def echo_json(document: object) -> None:
    click.echo(json.dumps(document, indent=2))


def write_page(path: Path, runs: RunSet) -> None:
    """A set of runs as a report."""
    write_report(path, run_report(runs))


def write_report(path: Path, document: Document) -> None:
    """Markdown where the file is called so (.md), else HTML. Raises ConfigError where it cannot be written."""
    text = markdown_of(document) if path.suffix.lower() in MARKDOWN else page(document)
    try:
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise ConfigError(
            f"cannot write the report {path}: {error.strerror}; give a file in a folder that is"
        ) from error


def all_valid(runs: Sequence[Run]) -> bool:
    return not any(run.invalid for run in runs)
