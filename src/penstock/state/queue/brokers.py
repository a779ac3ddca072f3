"""Broker by URL. Each client library is imported when its broker is asked for."""

from collections.abc import Callable
from urllib.parse import urlsplit

from penstock.core.errors import ConfigError
from penstock.core.registry import Registry
from penstock.state.queue.broker import Broker, BrokerSettings


def open_broker(settings: BrokerSettings) -> Broker:
    """The broker of the URL, not yet connected. Raises ConfigError for an unknown scheme or a missing extra."""
    scheme = urlsplit(settings.url).scheme
    return BROKERS[scheme](settings)


def _redis(settings: BrokerSettings) -> Broker:
    try:
        # An optional extra: its absence is told to the user, not thrown at them.
        from penstock.state.queue.redis import RedisBroker  # noqa: PLC0415
    except ImportError as error:
        raise ConfigError(f"the broker {settings.url.split(':')[0]}: {error}; pip install 'penstock[redis]'") from None
    return RedisBroker(settings)


def _nats(settings: BrokerSettings) -> Broker:
    try:
        from penstock.state.queue.nats import NatsBroker  # noqa: PLC0415
    except ImportError as error:
        raise ConfigError(f"the broker {settings.url.split(':')[0]}: {error}; pip install 'penstock[nats]'") from None
    return NatsBroker(settings)


BROKERS: Registry[Callable[[BrokerSettings], Broker]] = Registry(
    "broker", {"redis": _redis, "rediss": _redis, "nats": _nats, "tls": _nats}
)
