"""`penstock completion`: the script that makes a shell complete commands, models and config fields."""

import click
from click.shell_completion import get_completion_class

PLACES = {
    "bash": 'eval "$(penstock completion bash)"',
    "zsh": 'eval "$(penstock completion zsh)"',
    "fish": "penstock completion fish | source",
}


@click.command("completion", epilog="Put it in the shell's start file:  " + "  |  ".join(PLACES.values()))
@click.argument("shell", type=click.Choice(list(PLACES)))
@click.pass_context
def command(ctx: click.Context, shell: str) -> None:
    """Print the completion script of a shell."""
    kind = get_completion_class(shell)
    if kind is None:
        raise click.UsageError(f"SHELL: {shell!r} is unknown; known: {', '.join(PLACES)}", ctx)
    click.echo(kind(ctx.find_root().command, {}, "penstock", "_PENSTOCK_COMPLETE").source())
