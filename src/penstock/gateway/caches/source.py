"""KV events by way of pyzmq, which is an extra."""

from contextlib import AbstractAsyncContextManager

from penstock.core.errors import ConfigError
from penstock.gateway.caches.follow import Source


def check_source() -> None:
    """Raises ConfigError when events cannot be read here."""
    try:
        # An optional extra: its absence is told to the user, not thrown at them.
        import penstock.engines.kv_events  # noqa: F401, PLC0415
    except ImportError as error:
        raise ConfigError(
            f"routing.prefixes: 'precise' cannot read KV events here ({error}); pip install 'penstock[kv-events]'"
        ) from None


def open_source(publisher: str, replay: str) -> AbstractAsyncContextManager[Source]:
    """The events of one engine, not yet connected. Raises ImportError without the extra."""
    from penstock.engines.kv_events import KvEvents  # noqa: PLC0415 - as above

    return KvEvents(publisher, replay)
