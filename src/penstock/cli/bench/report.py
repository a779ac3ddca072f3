"""`penstock bench report`: a report of one set of runs, or of two."""

from pathlib import Path

import click
import msgspec

from penstock.bench.contract.compare import compare
from penstock.bench.report.double import comparison_report
from penstock.bench.report.single import run_report
from penstock.bench.report.text import markdown_of
from penstock.cli.bench.baseline import FOLDER, load
from penstock.cli.bench.show import echo_json, summary, write_report
from penstock.cli.options import json_option


@click.command("report")
@click.argument("name")
@click.argument("other", required=False)
@click.option("--out", type=click.Path(path_type=Path), help="Write it there: HTML, or Markdown if it ends in .md.")
@click.option("--folder", type=click.Path(path_type=Path), default=FOLDER, show_default=True, help="Of the baselines.")
@json_option
def command(name: str, other: str | None, out: Path | None, folder: Path, as_json: bool) -> None:
    """Show a set of runs: a file of `bench run --out`, or NAME or NAME@NUMBER of a baseline.

    With OTHER both sets, before and after, over one another. Markdown without --out.
    """
    runs = load(name, folder)
    if other is None:
        document, told = run_report(runs), summary(runs)
    else:
        after = load(other, folder)
        found = compare(runs, after)
        document, told = comparison_report(f"{name} and {other}", found, runs, after), msgspec.to_builtins(found)
    if out:
        write_report(out, document)
    if as_json:
        echo_json(told)
    elif not out:
        click.echo(markdown_of(document))
