"""`penstock tenant`: organisations and their teams, straight in their store."""

from typing import Any

import click
import msgspec

from penstock.cli.identity import PAGE, bounds_options, given, run, share_options, show, show_one, store_option
from penstock.core.clock import wall
from penstock.core.errors import ConfigError
from penstock.policy.identity.tree import Org, Team
from penstock.state.identity.fields import OrgFields, TeamFields
from penstock.state.identity.rows import Row, org_row, team_row
from penstock.state.identity.store import Store

ORGS = ("name", "limits")
TEAMS = ("org", "name", "weight", "priority", "limits")


@click.group("tenant")
def command() -> None:
    """Make, list, change and end organisations and teams.

    A TENANT is ORG, or ORG/TEAM. Models, endpoints and limits of an organisation hold for all of its teams and keys,
    those of a team for all of its keys.
    """


@command.command("create")
@click.argument("tenant")
@bounds_options
@share_options
@store_option
def create(tenant: str, url: str | None, as_json: bool, **options: Any) -> None:
    """Make TENANT."""
    org, team = _place(tenant)

    async def made(store: Store) -> Row:
        if team:
            return team_row(await store.create_team(org, team, _team_fields(options), wall()))
        return org_row(await store.create_org(org, _org_fields(options), wall()))

    show_one(run(url, made), as_json)


@command.command("list")
@click.argument("org", required=False)
@click.option("--all", "everything", is_flag=True, help="Deleted ones too.")
@store_option
def list_tenants(org: str | None, everything: bool, url: str | None, as_json: bool) -> None:
    """List organisations, or the teams of ORG."""

    async def read_orgs(store: Store) -> list[Org]:
        found: list[Org] = []
        while len(page := await store.orgs(PAGE, found[-1].name if found else "")) == PAGE:
            found += page
        return found + page

    async def read_teams(store: Store) -> list[Team]:
        found: list[Team] = []
        while len(page := await store.teams(org or "", PAGE, found[-1].name if found else "")) == PAGE:
            found += page
        return found + page

    rows = [org_row(each) for each in run(url, read_orgs)] if org is None else None
    if rows is None:
        rows = [team_row(each) for each in run(url, read_teams)]
    show([row for row in rows if everything or not row["deleted"]], as_json, ORGS if org is None else TEAMS)


@command.command("show")
@click.argument("tenant")
@store_option
def show_tenant(tenant: str, url: str | None, as_json: bool) -> None:
    """Show TENANT."""
    org, team = _place(tenant)

    async def found(store: Store) -> Row:
        return team_row(await store.team(org, team)) if team else org_row(await store.org(org))

    show_one(run(url, found), as_json)


@command.command("set")
@click.argument("tenant")
@bounds_options
@share_options
@store_option
def change(tenant: str, url: str | None, as_json: bool, **options: Any) -> None:
    """Change TENANT. What is not given stays; an empty --model, --endpoint or --limit clears the list."""
    org, team = _place(tenant)

    async def changed(store: Store) -> Row:
        if team:
            return team_row(await store.change_team(org, team, _team_fields(options)))
        return org_row(await store.change_org(org, _org_fields(options)))

    show_one(run(url, changed), as_json)


@command.command("delete")
@click.argument("tenant")
@store_option
def delete(tenant: str, url: str | None, as_json: bool) -> None:
    """End TENANT with all keys in it. Its name is not given again, since bills hold it."""
    org, team = _place(tenant)

    async def deleted(store: Store) -> Row:
        if team:
            return team_row(await store.delete_team(org, team, wall()))
        return org_row(await store.delete_org(org, wall()))

    row = run(url, deleted)
    if as_json:
        show_one(row, as_json)
    else:
        click.echo(f"{tenant} is deleted")


def _place(tenant: str) -> tuple[str, str]:
    org, sign, team = tenant.partition("/")
    if not org or (sign and not team):
        raise ConfigError(f"TENANT: {tenant!r:.140} is none; write ORG or ORG/TEAM")
    return org, team


def _org_fields(options: dict[str, Any]) -> OrgFields:
    for name in ("weight", "priority"):
        if options.pop(name) is not None:
            raise ConfigError(f"--{name}: shares are given to teams; write ORG/TEAM")
    return msgspec.convert(given(**options), OrgFields)


def _team_fields(options: dict[str, Any]) -> TeamFields:
    return msgspec.convert(given(**options), TeamFields)
