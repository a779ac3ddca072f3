"""A command that ran and found something wrong: one line, exit code 1."""

import click


class Finding(click.ClickException):
    """Ends the command with `penstock: message` on stderr and exit code 1."""

    exit_code = 1
