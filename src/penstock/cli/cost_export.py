"""`penstock cost export`: charges for tools that speak FOCUS."""

import os
import sys
from pathlib import Path

import click

from penstock.cli.ledger import ledger_option, opened, span_of, span_options
from penstock.core.errors import PenstockError
from penstock.state.ledger.focus import VERSIONS, write


@click.command("export")
@click.option("--focus", "path", metavar="FILE", required=True, help="Write a FOCUS dataset there; - is stdout.")
@click.option("--version", type=click.Choice(VERSIONS), default=VERSIONS[-1], show_default=True, help="Of FOCUS.")
@click.option("--provider", default="Penstock", show_default=True, help="Who provides the service and its bill.")
@click.option("--account", default="default", show_default=True, help="Account of requests without an organisation.")
@span_options
@ledger_option
def export(
    path: str, version: str, provider: str, account: str, since: str | None, until: str | None, url: str
) -> None:
    """Write charges as a FOCUS Cost and Usage dataset, one row per day, key, model, engine and meter."""
    span = span_of(since, until)
    with opened(url) as store:
        rates, usage = store.rates(), store.usage(span)
        if path == "-":
            write(sys.stdout, usage, rates, version=version, provider=provider, account=account)
            return
        made = Path(f"{path}.new")
        try:
            with made.open("w", encoding="utf-8", newline="") as stream:
                count = write(stream, usage, rates, version=version, provider=provider, account=account)
                stream.flush()
                os.fsync(stream.fileno())
            made.replace(path)
        except OSError as error:
            raise PenstockError(f"--focus: cannot write {path}: {error.strerror or error}") from None
    click.echo(f"{path}: {count:,} rows, FOCUS {version}", err=True)
