"""What an engine says of its own load, in one vocabulary whatever the engine."""

import msgspec


class Load(msgspec.Struct, frozen=True):
    """One reading of an engine's metrics. A signal the engine does not export is None, never 0.

    Cumulative counters are as read; whoever wants a rate compares two readings.
    """

    at: float
    """Monotonic seconds of the machine (CLOCK_MONOTONIC), comparable between its processes."""
    dialect: str = ""
    """Name of the dialect that read it: `vllm`, `sglang`, `trtllm`, `triton`, `tgi`, `llamacpp`."""
    version: str = ""
    """Engine version where the engine tells."""
    running: float | None = None
    """Requests in the running batch."""
    waiting: float | None = None
    """Requests in the engine's own queue."""
    kv_utilisation: float | None = None
    """Share of the KV cache in use, 0 to 1."""
    kv_capacity_tokens: int | None = None
    """Tokens the KV cache holds."""
    prefix_hit_tokens: float | None = None
    """Cumulative prompt tokens found in the prefix cache."""
    prefix_query_tokens: float | None = None
    """Cumulative prompt tokens looked up in the prefix cache."""
    preemptions: float | None = None
    """Cumulative preemptions: requests put back for want of KV blocks."""
    prompt_tokens: float | None = None
    """Cumulative."""
    generation_tokens: float | None = None
    """Cumulative."""
    adapter_slots: int | None = None
    """LoRA adapters that can be resident at once."""
    adapters: tuple[str, ...] = ()
    """LoRA adapters with running or waiting requests."""
    missing: tuple[str, ...] = ()
    """Signals that this dialect and version should export and did not, by the field names above."""
