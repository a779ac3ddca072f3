"""Which store a URL names."""

from collections.abc import Callable
from pathlib import Path
from urllib.parse import urlsplit

from penstock.core.registry import Registry
from penstock.state.limits.memory import MemoryStore
from penstock.state.limits.postgres import PostgresStore
from penstock.state.limits.redis import RedisStore
from penstock.state.limits.sqlite import SqliteStore
from penstock.state.limits.store import LimitStore

FILE = "limits.sqlite"


def stores(folder: Path) -> Registry[Callable[[str], LimitStore]]:
    """Scheme -> what opens it."""
    return Registry(
        "store of limits",
        {
            "memory": lambda url: MemoryStore(),
            "sqlite": lambda url: SqliteStore(Path(urlsplit(url).path or folder / FILE)),
            "redis": RedisStore,
            "rediss": RedisStore,
            "postgres": PostgresStore,
            "postgresql": PostgresStore,
        },
    )


def open_store(url: str, folder: Path) -> LimitStore:
    """`sqlite:` (a file in the data folder), `sqlite:/path`, `memory:`, `redis://...`, `rediss://...`, `postgresql://...`.

    Raises ConfigError. A server is connected to when it is first needed, and again after it was away.
    """
    return stores(folder)[urlsplit(url).scheme](url)
