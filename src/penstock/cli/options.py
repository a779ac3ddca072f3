"""Options that several commands share, and the config they lead to."""

import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeVar

import click
from click.shell_completion import CompletionItem

from penstock.config import Loaded, load
from penstock.config.engines import Http, LlamaCpp
from penstock.config.explain import field_paths
from penstock.config.override import Flag
from penstock.core.errors import ConfigError
from penstock.engines.models.known import KNOWN

F = TypeVar("F", bound=Callable[..., Any])

DEFAULT_FILE = "penstock.yaml"
TOLD = "penstock.config"
"""Where click's context keeps the path that `told_config_option` was given."""


def complete_field(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Dotted paths of config fields."""
    return [CompletionItem(path) for path in field_paths() if path.startswith(incomplete)]


def _complete_assignment(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    return [CompletionItem(f"{item.value}=") for item in complete_field(ctx, param, incomplete)]


def config_option(function: F) -> F:
    """`-c FILE`."""
    return click.option(
        "-c",
        "--config",
        type=click.Path(path_type=Path),
        help=f"Config file.  [default: ./{DEFAULT_FILE} when it exists, else none]",
    )(function)


def told_config_option(function: F) -> F:
    """`-c FILE`, for commands that read one value of the config deep inside: `told_config` has it."""

    def remember(ctx: click.Context, _: click.Parameter, path: Path | None) -> None:
        ctx.meta[TOLD] = path

    return click.option(
        "-c",
        "--config",
        type=click.Path(path_type=Path),
        expose_value=False,
        callback=remember,
        help=f"Config file that says where the store is.  [default: ./{DEFAULT_FILE} when it exists, else none]",
    )(function)


def told_config() -> Loaded:
    """The config that `told_config_option` names. Raises ConfigError."""
    return read_config(click.get_current_context().meta.get(TOLD))


def set_option(function: F) -> F:
    """`--set key.path=value`, any number of times."""
    return click.option(
        "--set",
        "sets",
        metavar="KEY.PATH=VALUE",
        multiple=True,
        shell_complete=_complete_assignment,
        help="Override one field; the value is YAML.  Example: --set listen.port=9000",
    )(function)


def json_option(function: F) -> F:
    """`--json`."""
    return click.option("--json", "as_json", is_flag=True, help="Print JSON on stdout and nothing else.")(function)


def read_config(path: Path | None, sets: tuple[str, ...] = (), flags: tuple[Flag, ...] = ()) -> Loaded:
    """The config this process would run with. Raises ConfigError."""
    if path is None and Path(DEFAULT_FILE).is_file():
        path = Path(DEFAULT_FILE)
    return load(path, os.environ, sets, flags)


def complete_model(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Short names of known models, and the names this config serves."""
    names = set(KNOWN)
    with suppress(ConfigError):
        for engine in read_config(ctx.params.get("config")).config.engines:
            names |= {engine.alias} if isinstance(engine, LlamaCpp) and engine.alias else set()
            names |= set(engine.models) if isinstance(engine, Http) else set()
    return [CompletionItem(name) for name in sorted(names) if name.startswith(incomplete)]
