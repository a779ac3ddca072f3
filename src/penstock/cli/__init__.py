"""The `penstock` command: one file per subcommand, imported when it is called."""

from penstock.cli.app import main

__all__ = ["main"]
