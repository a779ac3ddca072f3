"""A store by its URL: `sqlite:PATH`, or `postgresql://user@host/name`."""

from collections.abc import Callable
from pathlib import Path

from penstock.config.state import State, data_folder
from penstock.core.errors import ConfigError
from penstock.core.registry import Registry
from penstock.state.identity.database import Database
from penstock.state.identity.postgres import Postgres
from penstock.state.identity.sqlite import Sqlite
from penstock.state.identity.store import Store

FILE = "identity.db"


def databases() -> Registry[Callable[[str], Database]]:
    """Scheme -> what opens a URL of it."""
    return Registry(
        "kind of store",
        {"sqlite": _sqlite, "postgresql": Postgres, "postgres": Postgres},
    )


def open_store(url: str) -> Store:
    """The store behind `url`; nothing is opened before its first use. Raises ConfigError, never with a password."""
    scheme, sign, _ = url.partition(":")
    if not sign:
        raise ConfigError("store: this is no URL; write sqlite:PATH or postgresql://user@host/name")
    return Store(databases()[scheme](url))


def identity_url(state: State) -> str:
    """Where tenants and keys are kept: `state.url`, or a file in the data folder."""
    return state.url or f"sqlite:{data_folder(state.folder) / FILE}"


def _sqlite(url: str) -> Database:
    path = url.removeprefix("sqlite:")
    if path.startswith("//"):
        path = path[2:]
    if not path or "\0" in path:
        raise ConfigError(
            "store: the URL names no file; write sqlite:PATH, such as sqlite:/var/lib/penstock/identity.db"
        )
    return Sqlite(Path(path))
