"""`penstock bench compare`: whether two sets of runs differ."""

import sys
from pathlib import Path
from typing import Any

import click
import msgspec
from rich.console import Console
from rich.table import Table

from penstock.bench.contract.compare import EXIT, compare
from penstock.bench.report.double import comparison_report
from penstock.bench.report.table import compared, markdown
from penstock.cli.bench.baseline import FOLDER, load
from penstock.cli.bench.show import echo_json, write_report
from penstock.cli.options import json_option


@click.command("compare")
@click.argument("before")
@click.argument("after")
@click.option("--pairs", is_flag=True, help="The sets were measured in turn (`run --against`): compare run by run.")
@click.option("--despite", multiple=True, metavar="NAME", help="What may differ: engine.flags, or all of engine.")
@click.option("--folder", type=click.Path(path_type=Path), default=FOLDER, show_default=True, help="Of the baselines.")
@click.option(
    "--report", type=click.Path(path_type=Path), help="Write a report there: HTML, or Markdown if it ends in .md."
)
@click.option("--markdown", "as_markdown", is_flag=True, help="Print a table for a pull request.")
@json_option
@click.pass_context
def command(ctx: click.Context, /, before: str, after: str, folder: Path, **given: Any) -> None:
    """Judge whether the runs in AFTER differ from those in BEFORE.

    Each is a file of `bench run --out`, or NAME or NAME@NUMBER of a baseline. Exit codes: 0 same or better, 1 worse,
    3 inconclusive, 4 not comparable.
    """
    first, second = load(before, folder), load(after, folder)
    found = compare(first, second, pairs=given["pairs"], despite=given["despite"])
    header, rows = compared(found)
    if given["report"]:
        write_report(given["report"], comparison_report(f"{before} and {after}", found, first, second))
    if given["as_json"]:
        echo_json(msgspec.to_builtins(found))
    elif given["as_markdown"]:
        problems = "".join(f"\n- {each}" for each in found.problems)
        click.echo(f"**{found.verdict}**\n\n{markdown(header, rows)}{problems}")
    else:
        table = Table(*header, box=None, padding=(0, 1, 0, 0))
        for row in rows:
            table.add_row(*row)
        Console(width=None if sys.stdout.isatty() else 160).print(table)
        for problem in found.problems:
            click.echo(problem)
        click.echo(f"verdict: {found.verdict}")
    ctx.exit(EXIT[found.verdict])
