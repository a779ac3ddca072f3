"""The broker is chosen by its URL."""

import pytest

from penstock.core.errors import ConfigError
from penstock.state.queue.broker import BrokerSettings
from penstock.state.queue.brokers import open_broker


@pytest.mark.parametrize("scheme", ["redis", "rediss", "nats", "tls"])
def test_known_schemes(scheme: str) -> None:
    assert open_broker(BrokerSettings(f"{scheme}://127.0.0.1:1/")).piece_bytes > 0


def test_an_unknown_scheme_lists_the_known_ones() -> None:
    with pytest.raises(ConfigError, match="unknown broker 'kafka'; known: nats, redis, rediss, tls"):
        open_broker(BrokerSettings("kafka://127.0.0.1"))


@pytest.mark.anyio
@pytest.mark.parametrize("scheme", ["redis", "nats"])
async def test_a_broker_that_is_not_there_is_said(scheme: str, free_port: object) -> None:
    assert callable(free_port)
    broker = open_broker(BrokerSettings(f"{scheme}://127.0.0.1:{free_port()}"))
    with pytest.raises(ConfigError, match="the broker: "):
        await broker.open()
    await broker.close()
