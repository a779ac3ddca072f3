"""What is known of a supervised child, and how patient its supervisor is."""

import msgspec

from penstock.core.endpoint import EngineState


class ProcessStatus(msgspec.Struct, frozen=True):
    """One moment of its life."""

    state: EngineState
    address: str = ""
    """Base URL without `/v1`; it changes with every start. Empty while nothing listens."""
    pid: int = 0
    """Process id of the engine, 0 while there is none."""
    restarts: int = 0
    """Starts after the first."""
    started_at: float = 0.0
    """Start of the present child, seconds since the epoch."""
    reason: str = ""
    """Why it is not ready, or why the last child ended."""
    models: dict[str, bytes] = {}
    """Model id -> its entry of `/v1/models`, as JSON."""
    kv_events: str = ""
    """Address where it publishes its KV events; empty when it does not. It changes with every start."""
    kv_replay: str = ""
    """Address that sends past ones again."""
    version: str = ""
    """Version of the engine, where it is known; empty before that."""


class Patience(msgspec.Struct, frozen=True):
    """Times of the supervision, in seconds unless said otherwise."""

    probe_interval_s: float = 2.0
    probe_timeout_s: float = 5.0
    probe_failures: int = 4
    """Probes in a row that may fail before the child counts as hung."""
    stop_timeout_s: float = 5.0
    """SIGTERM to SIGKILL."""
    restart_base_s: float = 0.25
    restart_cap_s: float = 30.0
    forgive_after_s: float = 60.0
    """A life that was ready this long clears the failures before it."""
    first_starts: int = 3
    """Starts that may fail before the first success; then it is FAILED and left alone."""
