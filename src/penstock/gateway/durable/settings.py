"""What the durable queue is told when it starts."""

import msgspec


class Settings(msgspec.Struct, frozen=True):
    """Of one process."""

    gateway: str
    """Base address of the API, without `/v1`."""
    host: str = "127.0.0.1"
    port: int = 8082
    concurrency: int = 16
    """Requests that this process has running at once; 0: it only listens."""
    body_bytes: int = 8 * 1024 * 1024
    answer_bytes: int = 64 * 1024 * 1024
    expires_s: float = 86_400.0
    """A request that was not started after so long is not started any more."""
    silent_s: float = 30.0
    """A puller that was silent for so long is taken for dead."""
    drain_s: float = 30.0
    """Running requests may take this long at the end; then they are given back."""
