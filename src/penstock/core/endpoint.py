"""Where a request can be sent, and what is known of it."""

from enum import StrEnum

import msgspec


class EngineState(StrEnum):
    """The life of an engine. Only READY takes requests."""

    STARTING = "starting"
    WARMING = "warming"
    READY = "ready"
    RESTARTING = "restarting"
    UNREACHABLE = "unreachable"
    STOPPING = "stopping"
    STOPPED = "stopped"
    FAILED = "failed"


class Endpoint(msgspec.Struct, frozen=True):
    """One address that answers requests, as the fleet knows it at one moment. Crosses process boundaries."""

    name: str
    kind: str
    state: EngineState
    url: str = ""
    """Base URL without a trailing `/v1`, e.g. `http://127.0.0.1:8000`; empty while a child has no address."""
    models: dict[str, bytes] = {}
    """Model id -> its entry of `/v1/models`: JSON, as the engine gave it."""
    adapters: frozenset[str] = frozenset()
    """Those of `models` that are LoRA adapters."""
    pool: str = "default"
    role: str = "both"
    """`both`, `prefill` or `decode`."""
    cost: float = 0.0
    """Money per million tokens."""
    max_in_flight: int = 0
    """Requests each worker sends it at once; 0 for no bound."""
    kv_events: str = ""
    """Address where it publishes what comes into its KV cache and leaves it; empty when it does not."""
    kv_replay: str = ""
    """Address that sends past ones again."""
    reason: str = ""
    """Why the state is not READY, for people."""

    @property
    def ready(self) -> bool:
        return self.state is EngineState.READY
