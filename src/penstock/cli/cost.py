"""`penstock cost`: what was used and what it cost."""

import csv
import json
import sys
from collections.abc import Iterable

import click
from rich.console import Console
from rich.table import Table

from penstock.cli.cost_export import export
from penstock.cli.cost_reconcile import reconcile
from penstock.cli.ledger import ledger_option, opened, span_of, span_options
from penstock.cli.options import json_option
from penstock.state.ledger.rows import COUNTS, FLAWS, money, total_row
from penstock.state.ledger.store import GROUPS, Total

TENANT = ("org", "team", "key")
WIDTH = 160
"""Of a table that goes into a file or a pipe."""


@click.group("cost", invoke_without_command=True)
@click.option(
    "--by",
    "groups",
    type=click.Choice(("tenant", *GROUPS)),
    multiple=True,
    help="Group by it; several times for several.  `tenant` is org, team and key.",
)
@span_options
@ledger_option
@json_option
@click.option("--csv", "as_csv", is_flag=True, help="Print CSV on stdout and nothing else.")
@click.pass_context
def command(
    ctx: click.Context,
    groups: tuple[str, ...],
    since: str | None,
    until: str | None,
    url: str,
    as_json: bool,
    as_csv: bool,
) -> None:
    """Show what was used and what it cost.

    Costs are exact. A request counts for the day it was received, in UTC. Notes tell how many requests had no price
    (unpriced), were interrupted and are in no sum (unknown), or had an engine that told no usage (counted).
    """
    if ctx.invoked_subcommand is not None:
        return
    if as_json and as_csv:
        raise click.UsageError("--json and --csv: choose one")
    by = tuple(dict.fromkeys(name for group in groups for name in (TENANT if group == "tenant" else (group,))))
    with opened(url) as store:
        totals = store.totals(by, span_of(since, until))
    if as_json:
        click.echo(json.dumps([total_row(by, total) for total in totals], indent=2))
    elif as_csv:
        _csv(by, totals)
    else:
        _table(by, totals)


command.add_command(export)
command.add_command(reconcile)


def _csv(by: tuple[str, ...], totals: Iterable[Total]) -> None:
    rows = [total_row(by, total) for total in totals]
    header = [*by, "currency", *COUNTS, *FLAWS, "cost"]
    writer = csv.DictWriter(sys.stdout, header, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)


def _table(by: tuple[str, ...], totals: list[Total]) -> None:
    if not totals:
        click.echo("no request is in the ledger for this time", err=True)
        return
    table = Table(box=None, pad_edge=False, header_style="bold", padding=(0, 2, 0, 0))
    for name in by:
        table.add_column(name, overflow="fold")
    for name in (*COUNTS, "cost"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("notes", overflow="fold")
    for total in totals:
        counts = [f"{getattr(total, name):,}" for name in COUNTS]
        cost = f"{money(total.cost)} {total.currency}"
        table.add_row(*(value or "-" for value in total.group), *counts, cost, _notes(total))
    console = Console()
    Console(width=console.width if console.is_terminal else WIDTH).print(table)


def _notes(total: Total) -> str:
    notes = []
    if total.unpriced:
        notes.append(f"{total.unpriced:,} unpriced")
    if total.unknown:
        notes.append(f"{total.unknown:,} unknown")
    if total.counted:
        notes.append(f"{total.counted:,} counted")
    return "; ".join(notes)
