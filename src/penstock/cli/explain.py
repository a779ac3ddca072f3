"""`penstock explain`: every effective value and where it came from, or the schema for editors."""

import json
from pathlib import Path
from typing import Any

import click
import msgspec

from penstock.cli.options import complete_field, config_option, json_option, read_config, set_option
from penstock.config.explain import Value, schema, values
from penstock.core.errors import ConfigError


@click.command("explain")
@click.argument("field", required=False, shell_complete=complete_field)
@config_option
@set_option
@json_option
@click.option("--schema", "as_schema", is_flag=True, help="Print the JSON schema of the config for editors.")
def command(field: str | None, config: Path | None, sets: tuple[str, ...], as_json: bool, as_schema: bool) -> None:
    """Show every config value and where it came from.

    FIELD is a dotted path such as `listen.port` or `engines.0`; without it everything is shown. Secrets are
    shown as `***`.
    """
    if as_schema:
        click.echo(json.dumps(schema(), indent=2))
        return
    found = values(read_config(config, sets))
    if field:
        found = [value for value in found if value.field == field or value.field.startswith(f"{field}.")]
        if not found:
            raise ConfigError(f"FIELD: the config has no {field!r}; `penstock explain` lists all fields")
    if as_json:
        click.echo(json.dumps([msgspec.to_builtins(value) for value in found], indent=2, ensure_ascii=False))
        return
    click.echo(_table(found, docs=field is not None))


def _table(found: list[Value], *, docs: bool) -> str:
    names = max(len(value.field) for value in found)
    shown = [_show(value.value) for value in found]
    wide = min(max(len(text) for text in shown), 40)
    lines = []
    for value, text in zip(found, shown, strict=True):
        lines.append(f"{value.field:<{names}}  {text:<{wide}}  {value.origin}")
        if docs:
            lines.append(f"{'':<{names}}  {value.doc}")
    return "\n".join(lines)


def _show(value: Any) -> str:
    if value is None:
        return "null"
    if value == "***":
        return "***"
    return json.dumps(value, ensure_ascii=False)
