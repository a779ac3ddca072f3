"""`penstock doctor`: checks this machine and the config."""

import json
from pathlib import Path

import click
import msgspec

from penstock.cli import checks
from penstock.cli.caches import caches
from penstock.cli.checks import FAIL, OK, Check
from penstock.cli.fetch import cache, store
from penstock.cli.options import config_option, json_option, read_config, set_option
from penstock.cli.signals import signals
from penstock.config.schema import Config
from penstock.core.errors import ConfigError


@click.command("doctor")
@config_option
@set_option
@json_option
@click.pass_context
def command(ctx: click.Context, config: Path | None, sets: tuple[str, ...], as_json: bool) -> None:
    """Check this machine and the config; each finding names its fix.

    Exit code 1 when a check fails. With an invalid config the rest is checked against the defaults.
    """
    found = examine(config, sets)
    if as_json:
        click.echo(json.dumps([msgspec.to_builtins(check) for check in found], indent=2, ensure_ascii=False))
    else:
        for check in found:
            click.echo(f"{check.level:<4}  {check.name:<20}  {check.message}")
            if check.level != OK:
                click.echo(f"{'':<4}  {'':<20}  fix: {check.fix}")
    if any(check.level == FAIL for check in found):
        ctx.exit(1)


def examine(path: Path | None, sets: tuple[str, ...]) -> list[Check]:
    """All findings, in the order a start would meet them."""
    try:
        loaded = read_config(path, sets)
        config = loaded.config
        first = Check("config", OK, f"{loaded.path} is valid" if loaded.path else "no file: the embedded default")
    except ConfigError as error:
        config = Config()
        first = Check("config", FAIL, str(error), "correct the field it names; docs/configuration.md lists all")
    return [
        first,
        *checks.addresses(config),
        *checks.library(config),
        *checks.models(config, store(), cache()),
        *checks.cores(config),
        *checks.files(config),
        *checks.engines(config),
        *signals(config),
        *caches(config),
    ]
