"""What the admin listener needs to know before it starts."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class AdminSettings:
    """Where the listener is, who may ask, and where the playground's requests go."""

    host: str = "127.0.0.1"
    """What the listener binds. A request must name it, or a loopback name or address."""
    token: str = ""
    """Bearer token asked of everything but /healthz and the page's own files; empty: none."""
    api: str = "http://127.0.0.1:8080"
    """Base address of the API, reachable from this process."""
    api_certificate: str = ""
    """PEM file the API serves TLS with; empty: the system's authorities. It alone is trusted,
    whatever name it carries, because the relay dials a loopback address it rarely names."""
