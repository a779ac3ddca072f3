"""`penstock key`: the keys of the API, straight in their store."""

import json
from typing import Any

import click
import msgspec

from penstock.cli.identity import PAGE, bounds_options, expiry, given, run, share_options, show, show_one, store_option
from penstock.config.rule import parse_length
from penstock.core.clock import wall
from penstock.core.errors import ConfigError
from penstock.policy.identity.tree import Key
from penstock.state.identity.fields import KeyFields
from penstock.state.identity.rows import key_row
from penstock.state.identity.store import Issued, Store

COLUMNS = ("id", "state", "org", "team", "name", "limits")


@click.group("key")
def command() -> None:
    """Make, list, change and end API keys.

    A key is shown once, when it is made or rotated; only a digest of it is kept. A running platform follows the
    store within a second or two.
    """


@command.command("create")
@click.option("--org", default="", help="Its organisation; none for a key of the operators.")
@click.option("--team", default="", help="Its team in that organisation.")
@click.option("--name", help="What people call it.")
@click.option("--admin", is_flag=True, default=None, help="May use the admin API; only a key without --org.")
@click.option("--expires", metavar="WHEN", help="30d, 2027-01-31 or never.")
@bounds_options
@share_options
@store_option
def create(org: str, team: str, expires: str | None, url: str | None, as_json: bool, **options: Any) -> None:
    """Make a key and print it: on stdout alone, the rest goes to stderr."""
    fields = _fields(expires=expiry(expires), **options)
    _print(run(url, lambda store: store.create_key(org, team, fields, wall())), as_json)


@command.command("list")
@click.option("--org", help="Of this organisation alone.")
@click.option("--team", help="Of this team of it.")
@click.option("--all", "everything", is_flag=True, help="Revoked and expired ones too.")
@store_option
def list_keys(org: str | None, team: str | None, everything: bool, url: str | None, as_json: bool) -> None:
    """List the keys that work."""
    if team is not None and org is None:
        raise ConfigError(f"--team: {team!r:.80} is a team of an organisation; give --org too")

    async def read(store: Store) -> list[Key]:
        found: list[Key] = []
        while len(page := await store.keys(PAGE, found[-1].id if found else "", org, team)) == PAGE:
            found += page
        return found + page

    rows = [key_row(key, wall()) for key in run(url, read)]
    show([row for row in rows if everything or row["state"] == "active"], as_json, COLUMNS)


@command.command("show")
@click.argument("id")
@store_option
def show_key(id: str, url: str | None, as_json: bool) -> None:
    """Show what the key ID may do; its secret is not known."""
    show_one(key_row(run(url, lambda store: store.key(id)), wall()), as_json)


@command.command("set")
@click.argument("id")
@click.option("--name", help="What people call it.")
@click.option("--admin/--no-admin", default=None, help="May use the admin API.")
@click.option("--expires", metavar="WHEN", help="30d, 2027-01-31 or never.")
@bounds_options
@share_options
@store_option
def change(id: str, expires: str | None, url: str | None, as_json: bool, **options: Any) -> None:
    """Change the key ID. What is not given stays; an empty --model, --endpoint or --limit clears the list."""
    fields = _fields(expires=expiry(expires), **options)
    show_one(key_row(run(url, lambda store: store.change_key(id, fields, wall())), wall()), as_json)


@command.command("rotate")
@click.argument("id")
@click.option("--overlap", metavar="TIME", default="24h", show_default=True, help="The old secret works so long; or 0.")
@store_option
def rotate(id: str, overlap: str, url: str | None, as_json: bool) -> None:
    """Give the key ID a new secret and print it."""
    seconds = 0.0 if overlap == "0" else parse_length("--overlap", overlap)
    _print(run(url, lambda store: store.rotate_key(id, seconds, wall())), as_json)


@command.command("revoke")
@click.argument("id")
@store_option
def revoke(id: str, url: str | None, as_json: bool) -> None:
    """End the key ID, for good."""
    row = key_row(run(url, lambda store: store.revoke_key(id, wall())), wall())
    if as_json:
        show_one(row, as_json)
    else:
        click.echo(f"{id} is revoked")


def _fields(**options: Any) -> KeyFields:
    return msgspec.convert(given(**options), KeyFields)


def _print(issued: Issued, as_json: bool) -> None:
    row = key_row(issued.key, wall())
    if as_json:
        click.echo(json.dumps({"key": row, "secret": issued.secret.reveal()}, indent=2))
        return
    click.echo(issued.secret.reveal())
    click.echo(f"This is key {issued.key.id}. It is not shown again.", err=True)
