"""Which store a URL means."""

from collections.abc import Callable
from pathlib import Path
from typing import TypeAlias

from penstock.core.errors import ConfigError
from penstock.core.registry import Registry
from penstock.state.ledger.store import Store

Making: TypeAlias = Callable[[str, Path], Store]


def _sqlite(url: str, folder: Path) -> Store:
    from penstock.state.ledger.sqlite import sqlite_store  # noqa: PLC0415 - each store's client is its own

    return sqlite_store(url, folder)


def _postgres(url: str, folder: Path) -> Store:
    from penstock.state.ledger.postgres import postgres_store  # noqa: PLC0415 - an extra

    return postgres_store(url)


STORES: Registry[Making] = Registry("ledger store", {"sqlite": _sqlite, "postgresql": _postgres, "postgres": _postgres})


def store_of(url: str, folder: Path) -> Store:
    """The store of `ledger.url`, not opened yet: `sqlite:PATH`, `postgresql://user@host/name`, or nothing for SQLite in
    the data folder. Raises ConfigError."""
    scheme, sign, _ = url.partition(":")
    if url and not sign:
        raise ConfigError("ledger.url: this is no URL; write sqlite:PATH or postgresql://user@host/name")
    return STORES[scheme or "sqlite"](url, folder)


def open_store(url: str, folder: Path) -> Store:
    """The same, opened. Raises ConfigError, or StoreAway."""
    store = store_of(url, folder)
    store.open()
    return store
