"""What every source of engines yields, and how it tells."""

import ipaddress
import re
from collections.abc import Callable, Iterable
from typing import Protocol
from urllib.parse import urlsplit

import msgspec

from penstock.core.errors import ConfigError


class Found(msgspec.Struct, frozen=True):
    """One engine, where it is now."""

    name: str
    """Stable for as long as the address is."""
    url: str
    """Base URL without a trailing slash or `/v1`."""
    labels: dict[str, str] = {}
    """What the source says of it, e.g. pod, node and zone."""


OnFound = Callable[[tuple[Found, ...]], None]


class Source(Protocol):
    """Knows where engines are."""

    problem: str
    """Why it cannot look now, for people; empty when it can. What was found before stays."""

    async def run(self, on_change: OnFound) -> None:
        """Tells each set of engines that differs from the last one, the whole set, until cancelled."""


class Announcer:
    """Tells a set only when it differs from the one told last; a first empty set is told as well."""

    def __init__(self, on_change: OnFound) -> None:
        self._on_change = on_change
        self._told: tuple[Found, ...] | None = None

    def tell(self, found: Iterable[Found]) -> None:
        """One engine for each address: the first that names it."""
        by_url: dict[str, Found] = {}
        for one in found:
            by_url.setdefault(one.url, one)
        whole = tuple(sorted(by_url.values(), key=lambda one: one.name))
        if whole != self._told:
            self._told = whole
            self._on_change(whole)


def url_of(scheme: str, host: str, port: int) -> str:
    """`http://10.0.0.5:8000`, `http://[fd00::5]:8000`."""
    return f"{scheme}://{f'[{host}]' if ':' in host else host}:{port}"


def base_url(text: str) -> str:
    """A URL as engines are called: without `/v1` and slashes at its end. Raises ConfigError."""
    try:
        parts = urlsplit(text)
        sound = parts.scheme in ("http", "https") and bool(parts.hostname) and not parts.query and not parts.fragment
        sound = sound and parts.port != 0
    except ValueError:
        sound = False
    if not sound:
        raise ConfigError(f"{text!r} is not the URL of an engine; write one such as `http://10.0.0.5:8000`")
    return text.rstrip("/").removesuffix("/v1").rstrip("/")


def name_of(prefix: str, url: str) -> str:
    """A name for the engine at `url`, of letters, digits, `.`, `_` and `-`: `pool-10.0.0.5-8000`."""
    parts = urlsplit(url)
    port = parts.port or (443 if parts.scheme == "https" else 80)
    plain = re.sub(r"[^A-Za-z0-9._-]", "-", f"{_canonical(parts.hostname or '')}-{port}{parts.path.rstrip('/')}")
    return f"{prefix}-{plain}" if prefix else plain.lstrip("-._")


def _canonical(host: str) -> str:
    try:
        return str(ipaddress.ip_address(host))
    except ValueError:
        return host
