"""The command group, and how a failure ends: one line on stderr and an exit code.

Exit codes: 0 done; 1 a finding (damaged model, failed check, error answer); 2 bad input; 130 interrupted.
"""

import sys
from collections.abc import Sequence
from typing import NoReturn

import click

from penstock import __version__
from penstock.cli.group import LazyGroup
from penstock.core.errors import PenstockError

COMMANDS = {
    "up": ("penstock.cli.up", "Start the platform in the foreground."),
    "chat": ("penstock.cli.chat", "Talk to a model through the running gateway."),
    "models": ("penstock.cli.models", "List, pull and verify models."),
    "lora": ("penstock.cli.lora", "List, load and unload LoRA adapters."),
    "tenant": ("penstock.cli.tenant", "Make, list, change and end organisations and teams."),
    "key": ("penstock.cli.key", "Make, list, change and end API keys."),
    "import": ("penstock.cli.imports", "Make a config from another gateway's."),
    "picker": ("penstock.cli.picker", "Pick engines for Envoy."),
    "cost": ("penstock.cli.cost", "Show what was used and what it cost."),
    "audit": ("penstock.cli.audit", "Check, show and export the audit log."),
    "queue": ("penstock.cli.queue", "Accept requests into a broker, and run them when there is room."),
    "bench": ("penstock.cli.bench", "Send a known load, measure what comes of it, and judge whether it has changed."),
    "profile": ("penstock.cli.profile.command", "Say where CPU time and memory of a running process go."),
    "explain": ("penstock.cli.explain", "Show every config value and where it came from."),
    "doctor": ("penstock.cli.doctor", "Check this machine and the config; each finding names its fix."),
    "completion": ("penstock.cli.completion", "Print the completion script of a shell."),
}


@click.group(
    cls=LazyGroup,
    modules=COMMANDS,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    no_args_is_help=False,
    invoke_without_command=True,
)
@click.version_option(__version__, prog_name="penstock", message="%(prog)s %(version)s")
@click.pass_context
def cli(ctx: click.Context) -> None:
    """Serve, operate and prove LLM inference: one package, one config."""
    if ctx.invoked_subcommand is None:
        click.echo(ctx.get_help())


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Runs the command line and exits the process."""
    try:
        code = cli.main(
            args=None if arguments is None else list(arguments), prog_name="penstock", standalone_mode=False
        )
    except click.Abort:
        sys.exit(130)
    except click.ClickException as error:
        usage = isinstance(error, click.UsageError) and error.ctx
        hint = f" (see {usage.command_path} --help)" if usage else ""
        _fail(error.format_message() + hint, error.exit_code)
    except PenstockError as error:
        _fail(str(error), 2)
    sys.exit(code if isinstance(code, int) else 0)


def _fail(message: str, code: int) -> NoReturn:
    click.echo(f"penstock: {' '.join(message.split())}", err=True)
    sys.exit(code)
