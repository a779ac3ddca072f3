"""A store by its URL: `sqlite:PATH`, or `postgresql://user@host/name`."""

from collections.abc import Callable, Mapping
from pathlib import Path

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


def default_url(environ: Mapping[str, str], home: Path) -> str:
    """A file in `$PENSTOCK_DATA`, else `$XDG_DATA_HOME/penstock`, else `~/.local/share/penstock`."""
    if chosen := environ.get("PENSTOCK_DATA"):
        return f"sqlite:{Path(chosen).absolute() / FILE}"
    base = environ.get("XDG_DATA_HOME", "")
    # A relative XDG_DATA_HOME is to be ignored (XDG Base Directory Specification).
    shared = Path(base) if base.startswith("/") else home / ".local" / "share"
    return f"sqlite:{shared / 'penstock' / FILE}"


def _sqlite(url: str) -> Database:
    path = url.removeprefix("sqlite:")
    if path.startswith("//"):
        path = path[2:]
    if not path or "\0" in path:
        raise ConfigError(
            "store: the URL names no file; write sqlite:PATH, such as sqlite:/var/lib/penstock/identity.db"
        )
    return Sqlite(Path(path))
