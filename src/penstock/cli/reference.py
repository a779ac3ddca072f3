"""Renders docs/configuration.md and docs/cli.md: `python -m penstock.cli.reference [FOLDER]`.

The configuration reference comes from the schema, the command reference from `--help`. A test fails when they differ
from what lies in docs/.
"""

import sys
from pathlib import Path
from typing import Any

import click

from penstock.cli.app import cli
from penstock.config.reference import configuration

WIDTH = 100


def commands() -> str:
    """docs/cli.md."""
    parts = [
        "# Command line",
        "Generated from `--help` by `python -m penstock.cli.reference`.",
        "Exit codes: 0 done; 1 a finding (a damaged model, a failed check, an error answer); 2 bad input, with one "
        "line on stderr that names field, value and fix; 130 interrupted. `--json` prints JSON and nothing else.",
        'Shell completion: `eval "$(penstock completion bash)"` (or zsh) in the shell\'s start file; for fish '
        "`penstock completion fish | source`.",
    ]
    for names in _names(cli, ()):
        parts += [f"## {' '.join(('penstock', *names))}", f"```text\n{_help(names)}\n```"]
    return "\n\n".join(parts) + "\n"


def documents() -> dict[str, str]:
    """File name in docs/ -> content."""
    return {"cli.md": commands(), "configuration.md": configuration()}


def _names(group: click.Command, path: tuple[str, ...]) -> list[tuple[str, ...]]:
    found = [path]
    if isinstance(group, click.Group):
        context = click.Context(group)
        for name in group.list_commands(context):
            inner = group.get_command(context, name)
            if inner is not None:
                found += _names(inner, (*path, name))
    return found


def _help(names: tuple[str, ...]) -> str:
    settings: dict[str, Any] = {"terminal_width": WIDTH, "max_content_width": WIDTH, "color": False}
    command: click.Command = cli
    context = click.Context(cli, info_name="penstock", **settings, help_option_names=["-h", "--help"])
    for name in names:
        assert isinstance(command, click.Group)
        inner = command.get_command(context, name)
        assert inner is not None
        command, context = inner, click.Context(inner, info_name=name, parent=context, **settings)
    return command.get_help(context).rstrip()


if __name__ == "__main__":
    folder = Path(sys.argv[1] if len(sys.argv) > 1 else "docs")
    for file_name, content in documents().items():
        (folder / file_name).write_text(content, encoding="utf-8")
