"""`penstock lora`: adapters of a running platform's engines."""

import json
from pathlib import Path
from typing import Any
from urllib.parse import quote

import click

from penstock.cli.admin import ask
from penstock.cli.options import config_option, json_option, read_config
from penstock.config.schema import Config
from penstock.core.errors import PenstockError

TIMEOUT_S = 150.0
"""Reading an adapter takes seconds, and vLLM may compile for its first."""


@click.group("lora")
def command() -> None:
    """List, load and unload LoRA adapters of a running platform's engines."""


@command.command("list")
@click.argument("engine", required=False)
@config_option
@json_option
def list_adapters(engine: str | None, config: Path | None, as_json: bool) -> None:
    """List the adapters of ENGINE, or of every engine."""
    settings = read_config(config).config
    rows = _ask(settings, "GET", "/admin/engines")["engines"]
    names = [row["name"] for row in rows if row["state"] == "ready" and engine in (None, row["name"])]
    if engine is not None and not names:
        known = ", ".join(row["name"] for row in rows)
        raise PenstockError(f"ENGINE: {engine!r} is not ready or unknown; engines: {known}")
    found = {name: _ask(settings, "GET", f"/admin/engines/{name}/adapters")["adapters"] for name in names}
    if as_json:
        click.echo(json.dumps(found, indent=2))
        return
    for name, adapters in found.items():
        for adapter in adapters:
            click.echo(f"{name:<20}  {adapter['name']:<28}  {adapter['base']:<28}  {adapter['path']}")


@command.command("load")
@click.argument("engine")
@click.argument("name")
@click.argument("path")
@click.option("--replace", is_flag=True, help="Put it in the place of one with the same name.")
@config_option
def load_adapter(engine: str, name: str, path: str, replace: bool, config: Path | None) -> None:
    """Load the adapter in PATH, a folder as ENGINE sees folders, as model NAME."""
    body = {"name": name, "path": path, "replace": replace}
    _ask(read_config(config).config, "POST", f"/admin/engines/{quote(engine)}/adapters", body)
    click.echo(f"{engine} serves {name}")


@command.command("unload")
@click.argument("engine")
@click.argument("name")
@config_option
def unload_adapter(engine: str, name: str, config: Path | None) -> None:
    """Take the adapter NAME away from ENGINE."""
    _ask(read_config(config).config, "DELETE", f"/admin/engines/{quote(engine)}/adapters/{quote(name)}")
    click.echo(f"{engine} no longer serves {name}")


def _ask(config: Config, method: str, path: str, body: object = None) -> Any:
    return ask(config, method, path, body, TIMEOUT_S)
