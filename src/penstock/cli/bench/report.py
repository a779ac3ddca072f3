"""`penstock bench report`: a page of a set of runs."""

from pathlib import Path

import click

from penstock.bench.report.table import KINDS, markdown, rows_of
from penstock.cli.bench.baseline import FOLDER, load
from penstock.cli.bench.show import echo_json, stages_of, summary, write_page
from penstock.cli.options import json_option


@click.command("report")
@click.argument("name")
@click.option("--out", type=click.Path(path_type=Path), help="Write the HTML page there.")
@click.option("--folder", type=click.Path(path_type=Path), default=FOLDER, show_default=True, help="Of the baselines.")
@json_option
def command(name: str, out: Path | None, folder: Path, as_json: bool) -> None:
    """Show a set of runs: a file of `bench run --out`, or NAME or NAME@NUMBER of a baseline."""
    runs = load(name, folder)
    if out:
        write_page(out, runs)
    if as_json:
        echo_json(summary(runs))
    elif not out:
        for number, run in enumerate(runs.runs, 1):
            rows = [rows_of(each) for each in stages_of(run, runs.contract)]
            click.echo(f"Run {number}{' (not valid)' if run.client.invalid else ''}\n\n{markdown(KINDS, rows)}")
