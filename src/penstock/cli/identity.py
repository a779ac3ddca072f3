"""What `penstock key` and `penstock tenant` share: the store they work on, and options that become fields."""

import asyncio
import datetime
import json
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

import click

from penstock.cli.options import json_option, told_config, told_config_option
from penstock.config.rule import parse_length
from penstock.core.clock import wall
from penstock.core.errors import ConfigError
from penstock.state.identity.open import identity_url, open_store
from penstock.state.identity.rows import Row
from penstock.state.identity.store import Store

F = TypeVar("F", bound=Callable[..., Any])
T = TypeVar("T")
PAGE = 1000


def store_option(function: F) -> F:
    """`--store URL`, `-c FILE` and `--json`."""
    option = click.option(
        "--store",
        "url",
        metavar="URL",
        envvar="PENSTOCK_IDENTITY",
        help="sqlite:PATH or postgresql://user@host/name; the variable PENSTOCK_IDENTITY keeps a password out of "
        "sight.  [default: as the config says, else identity.db in the data folder]",
    )
    return option(told_config_option(json_option(function)))


def bounds_options(function: F) -> F:
    """What an organisation, a team and a key may all have."""
    for option in reversed(
        (
            click.option("--model", "models", multiple=True, help="A model it may use, `*` at the end for any rest."),
            click.option("--endpoint", "endpoints", multiple=True, help="A path it may use, with all below it."),
            click.option(
                "--limit",
                "limits",
                multiple=True,
                help="total_tokens=10000/minute, spend=5/day, concurrent_requests=8, ...; replaces all of its limits.",
            ),
        )
    ):
        function = option(function)
    return function


def share_options(function: F) -> F:
    """What a team has, and a key may lower."""
    weight = click.option("--weight", type=float, help="Share of a busy fleet, relative to other teams'.")
    priority = click.option("--priority", type=int, help="Higher goes first.")
    return weight(priority(function))


def given(**options: object) -> dict[str, object]:
    """Those of the options that were given, as fields. An empty text among several clears the list."""
    fields = {name: value for name, value in options.items() if value is not None and value != ()}
    return {
        name: tuple(text for text in value if text) if isinstance(value, tuple) else value
        for name, value in fields.items()
    }


def run(url: str | None, work: Callable[[Store], Awaitable[T]]) -> T:
    """Opens the store, works, closes it."""
    url = url or identity_url(told_config().config.state)

    async def opened() -> T:
        store = open_store(url)
        try:
            return await work(store)
        finally:
            await store.close()

    return asyncio.run(opened())


def expiry(text: str | None) -> float | None:
    """Seconds since the epoch of `30d`, `2027-01-31` or `2027-01-31T12:00+01:00` (UTC if unsaid); `never` is 0."""
    if text is None:
        return None
    if text == "never":
        return 0.0
    try:
        when = datetime.datetime.fromisoformat(text)
    except ValueError:
        try:
            return wall() + parse_length("--expires", text)
        except ConfigError:
            raise ConfigError(
                f"--expires: {text!r:.60} is no time; write a length such as 30d, a date such as 2027-01-31, or never"
            ) from None
    return (when if when.tzinfo else when.replace(tzinfo=datetime.UTC)).timestamp()


def show(rows: list[Row], as_json: bool, columns: tuple[str, ...]) -> None:
    """A table, or JSON."""
    if as_json:
        click.echo(json.dumps(rows, indent=2))
        return
    texts = [[_cell(row.get(column)) for column in columns] for row in rows]
    widths = [max(map(len, column)) for column in zip(*texts, strict=True)] if texts else []
    for line in texts:
        click.echo("  ".join(f"{cell:<{width}}" for cell, width in zip(line, widths, strict=True)).rstrip())


def show_one(row: Row, as_json: bool) -> None:
    """Field by field, or JSON. Times are shown as dates."""
    if as_json:
        click.echo(json.dumps(row, indent=2))
        return
    wide = max(map(len, row))
    for name, value in row.items():
        shown = _when(value) if name in TIMES and isinstance(value, float) else _cell(value)
        click.echo(f"{name:<{wide}}  {shown}".rstrip())


TIMES = frozenset({"created", "deleted", "expires", "revoked", "rotated", "previous_until"})


def _when(seconds: float) -> str:
    if not seconds:
        return "never"
    return datetime.datetime.fromtimestamp(seconds, datetime.UTC).isoformat(sep=" ", timespec="seconds")


def _cell(value: object) -> str:
    if isinstance(value, list):
        return " ".join(map(str, value)) or "-"
    return "-" if value in (None, "") else str(value)
