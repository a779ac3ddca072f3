"""Options that the commands of `penstock bench` share, and what they become."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click
import msgspec

from penstock.bench.client.session import Beside
from penstock.bench.client.settings import Patience, Server, server_of
from penstock.bench.contract.contract import Contract
from penstock.config.document import read
from penstock.core.errors import ConfigError

F = TypeVar("F", bound=Callable[..., Any])
URL = "http://127.0.0.1:8080"


def server_options(function: F) -> F:
    """Where load goes, and what is watched meanwhile."""
    url = click.option("--url", envvar="PENSTOCK_URL", default=URL, show_default=True, help="Address of the server.")
    return url(client_options(function))


def client_options(function: F) -> F:
    """How load is sent, and what is watched meanwhile."""
    for option in reversed(
        (
            click.option(
                "--key",
                "keys",
                multiple=True,
                metavar="[TENANT=]NAME",
                help="Environment variable that holds the key; with TENANT= the key of that tenant of the load."
                "  [default: PENSTOCK_API_KEY, if it is set]",
            ),
            click.option(
                "--processes",
                type=click.IntRange(1, 256),
                default=1,
                show_default=True,
                help="Client processes; more where one would use more than 90 % of a core.",
            ),
            click.option(
                "--timeout",
                type=click.FloatRange(0, min_open=True),
                default=600.0,
                show_default=True,
                help="Seconds for a whole answer.",
            ),
            click.option("--metrics", multiple=True, metavar="URL", help="Metrics to read meanwhile, twice a second."),
            click.option("--pid", "pids", multiple=True, type=int, help="Process whose CPU and memory to watch."),
            click.option(
                "--label",
                "labels",
                multiple=True,
                metavar="NAME=VALUE",
                help="What the server does not say itself, such as engine.flags=...; sets that differ in it are not "
                "compared.",
            ),
        )
    ):
        function = option(function)
    return function


def server(url: str, names: tuple[str, ...]) -> Server:
    """The server and its keys, taken from the environment. Raises ConfigError."""
    keys = {"": os.environ["PENSTOCK_API_KEY"]} if os.environ.get("PENSTOCK_API_KEY") else {}
    for name in names:
        tenant, sign, variable = name.rpartition("=")
        if not os.environ.get(variable):
            raise ConfigError(f"--key: the environment has no variable {variable!r}")
        keys[tenant if sign else ""] = os.environ[variable]
    return server_of(url, keys)


def pairs(option: str, texts: tuple[str, ...]) -> dict[str, str]:
    """`NAME=VALUE` texts. Raises ConfigError."""
    found = {}
    for text in texts:
        name, sign, value = text.partition("=")
        if not sign or not name:
            raise ConfigError(f"{option}: {text!r:.80} is not NAME=VALUE")
        found[name] = value
    return found


def beside(metrics: tuple[str, ...], pids: tuple[int, ...]) -> Beside:
    return Beside(metrics, pids)


def patience(timeout: float) -> Patience:
    return Patience(total=timeout)


def contract_of(path: Path) -> Contract:
    """Reads a contract. Raises ConfigError that names the field."""
    document = read(path)
    try:
        return msgspec.convert(document, Contract).within(path.parent)
    except msgspec.ValidationError as error:
        text, _, place = str(error).partition(" - at `$.")
        field = place.rstrip("`") or "contract"
        raise ConfigError(f"{field}: {text} (in {path})") from None
