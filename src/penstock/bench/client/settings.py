"""Where load goes, and how long the client waits."""

from typing import Annotated
from urllib.parse import urlsplit

import msgspec
from msgspec import Meta

from penstock.core.errors import ConfigError


class Server(msgspec.Struct, frozen=True):
    """An OpenAI-compatible server, and what opens it."""

    host: str
    port: int
    tls: bool = False
    prefix: str = ""
    """Of all paths, before `/v1`."""
    keys: dict[str, str] = {}
    """Tenant -> key. The empty name is the default one."""

    def own_key(self, tenant: str) -> str:
        """The key of a tenant, or of the nearest one above it: `acme/search`, then `acme`. Empty: it has none."""
        while tenant:
            if key := self.keys.get(tenant):
                return key
            tenant = tenant.rpartition("/")[0]
        return ""

    @property
    def local(self) -> bool:
        """Whether it runs on this machine, as far as its address says."""
        return self.host in ("127.0.0.1", "localhost", "::1")

    def head(self, path: str, size: int, tenant: str, headers: tuple[tuple[str, str], ...]) -> bytes:
        """The head of a POST with a JSON body of `size` bytes."""
        lines = [f"POST {self.prefix}{path} HTTP/1.1", f"host: {self.host}:{self.port}"]
        if key := self.own_key(tenant) or self.keys.get("", ""):
            lines.append(f"authorization: Bearer {key}")
        lines += ["content-type: application/json", f"content-length: {size}"]
        lines += [f"{name}: {value}" for name, value in headers]
        return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1")


class Patience(msgspec.Struct, frozen=True):
    """Seconds. 0: for ever."""

    connect: Annotated[float, Meta(ge=0)] = 10.0
    total: Annotated[float, Meta(ge=0)] = 600.0
    """From sending to the last byte."""


def server_of(url: str, keys: dict[str, str]) -> Server:
    """The server behind `http://host:port[/v1]`. Raises ConfigError."""
    parts = urlsplit(url if "://" in url else f"http://{url}")
    try:
        port = parts.port
    except ValueError:
        port = -1
    if parts.scheme not in ("http", "https") or not parts.hostname or port == -1:
        raise ConfigError(f"URL: {url!r:.200} is no address of a server; write http://HOST:PORT")
    tls = parts.scheme == "https"
    path = parts.path.rstrip("/").removesuffix("/v1")
    return Server(parts.hostname, port or (443 if tls else 80), tls, path, keys)
