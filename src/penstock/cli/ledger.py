"""What `penstock cost` and its subcommands share: the ledger they read, and the time they look at."""

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar

import click

from penstock.cli.options import told_config, told_config_option
from penstock.config.state import data_folder
from penstock.core.clock import wall
from penstock.core.errors import ConfigError
from penstock.state.ledger.store import Span, Store
from penstock.state.ledger.stores import store_of

F = TypeVar("F", bound=Callable[..., Any])

AGO = re.compile(r"(\d+)([mhdw])")
SECONDS = {"m": 60, "h": 3_600, "d": 86_400, "w": 604_800}
MICRO = 1_000_000


def ledger_option(function: F) -> F:
    """`--store URL` and `-c FILE`."""
    option = click.option(
        "--store",
        "url",
        metavar="URL",
        envvar="PENSTOCK_LEDGER",
        default="",
        help="sqlite:PATH or postgresql://user@host/name; the variable PENSTOCK_LEDGER keeps a password out of sight."
        "  [default: as the config says, else ledger/ledger.sqlite in the data folder]",
    )
    return option(told_config_option(function))


def span_options(function: F) -> F:
    """`--since`, `--until`."""
    since = click.option("--since", metavar="TIME", help="Requests received from then on: 2026-07-01, 7d, 12h.")
    until = click.option("--until", metavar="TIME", help="Requests received before then.")
    return since(until(function))


def span_of(since: str | None, until: str | None) -> Span:
    """The span of two options. Raises ConfigError."""
    span = Span(
        _micro("--since", since) if since else 0,
        _micro("--until", until) if until else Span().until,
    )
    if span.since >= span.until:
        raise ConfigError(f"--since: {since!r} is not before --until {until!r}")
    return span


@contextmanager
def opened(url: str) -> Iterator[Store]:
    """The ledger behind a URL. Raises ConfigError, or StoreAway."""
    state = told_config().config.state
    folder = data_folder(state.folder)
    url = url or state.url
    path = Path(url.removeprefix("sqlite:").removeprefix("//")) if url else folder / "ledger" / "ledger.sqlite"
    if url.partition(":")[0] in ("", "sqlite") and not path.is_file():
        raise ConfigError(
            f"--store: there is no ledger at {path}; set ledger.enabled: true, or give the URL, e.g. sqlite:PATH"
        )
    store = store_of(url, folder)
    try:
        store.open()
        yield store
    finally:
        store.close()


def _micro(option: str, text: str) -> int:
    if match := AGO.fullmatch(text):
        return round((wall() - int(match[1]) * SECONDS[match[2]]) * MICRO)
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise ConfigError(f"{option}: {text!r} is no time; write 2026-07-01, 2026-07-01T12:00:00Z, 7d or 12h") from None
    return round((moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp() * MICRO)
