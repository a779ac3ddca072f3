"""`penstock import`: another gateway's config as a Penstock config."""

import json
from pathlib import Path

import click
import msgspec
import yaml

from penstock.cli.options import json_option
from penstock.config.document import read
from penstock.config.litellm.convert import Imported, convert
from penstock.core.errors import ConfigError


@click.group("import")
def command() -> None:
    """Make a config from another gateway's."""


@command.command("litellm")
@click.argument("config", type=click.Path(path_type=Path))
@click.option("-o", "--output", type=click.Path(path_type=Path), help="Write the config here; the file must not exist.")
@click.option("--strict", is_flag=True, help="Exit with 1 when a field was not imported.")
@json_option
@click.pass_context
def litellm(ctx: click.Context, config: Path, output: Path | None, strict: bool, as_json: bool) -> None:
    """Print the Penstock config of LiteLLM's CONFIG.

    Models, engines, limits and routing are taken over. Every field that is not, or that means something else here, is
    named on stderr. Secrets become references to the environment.
    """
    found = convert(read(config))
    text = _yaml(found)
    if output is not None:
        try:
            with output.open("x", encoding="utf-8") as file:
                file.write(text)
        except OSError as error:
            raise ConfigError(f"--output: cannot write {str(output)!r}: {error.strerror or error}") from None
    if as_json:
        notes = [msgspec.to_builtins(note) for note in found.notes]
        click.echo(json.dumps({"config": found.document, "notes": notes}, indent=2))
    else:
        if output is None:
            click.echo(text, nl=False)
        for note in found.notes:
            click.echo(f"{'changed' if note.imported else 'skipped'}  {note.place}: {note.text}", err=True)
    if strict and not all(note.imported for note in found.notes):
        ctx.exit(1)


def _yaml(found: Imported) -> str:
    return yaml.safe_dump(found.document, sort_keys=False, allow_unicode=True, width=100) if found.document else "{}\n"
