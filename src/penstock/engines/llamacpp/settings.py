"""What the parent tells the child, and what the child answers: one JSON line each."""

import msgspec

DEFAULT_CONTEXT_TOKENS = 8192
"""Context over all slots when none is asked for: what the default model was trained with."""


class LlamaCppSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One llama.cpp server."""

    name: str
    """Name of the engine, for logs."""
    model_path: str
    alias: str
    """Model name that clients use."""
    context_tokens: int = 0
    """Context over all slots; one request may use all of it. 0 takes DEFAULT_CONTEXT_TOKENS."""
    slots: int = 4
    """Requests decoded at the same time."""
    threads: int = 0
    """0 takes all cores but one."""
    startup_timeout_s: float = 120.0
    """Start to the end of the warm-up; a start that takes longer counts as failed."""
    extra: dict[str, str | int | float | bool] = {}
    """Further attributes of llama.cpp's CommonParams, dotted for nested ones, e.g. `sampling.temp`."""


class Launch(msgspec.Struct, frozen=True):
    """The line the child reads from its stdin."""

    settings: LlamaCppSettings
    cores: int
    """Cores this machine lets us use."""
    port: int = 0
    """0 lets the system choose one."""


class Hello(msgspec.Struct, frozen=True):
    """The line the child writes to its stdout: it listens, or it says why it never will."""

    ready: bool
    address: str = ""
    """Base URL, e.g. `http://127.0.0.1:41231`."""
    error: str = ""
    fatal: bool = False
    """Another start with the same settings would fail the same way."""
