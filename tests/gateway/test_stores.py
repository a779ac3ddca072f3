"""What a reload may change of the stores."""

import pytest

from penstock.config.schema import Auth, Config
from penstock.config.state import RateLimits
from penstock.core.errors import ConfigError
from penstock.gateway.stores import Stores

OPEN = Config()
LIMITED = Config(auth=Auth(keys=("k" * 20,)), rate_limits=RateLimits(key=("requests=60/minute",)))


def test_the_first_limits_need_a_restart() -> None:
    """Without a keeper nobody would grant anything: every caller would be refused."""
    stores = Stores(OPEN, lambda: ())
    stores.check(OPEN)
    with pytest.raises(ConfigError, match="rate_limits: the first limits need a restart"):
        stores.check(LIMITED)


def test_another_store_needs_a_restart() -> None:
    stores = Stores(OPEN, lambda: ())
    with pytest.raises(ConfigError, match=r"rate_limits\.store: it changes only with a restart"):
        stores.check(Config(rate_limits=RateLimits(store="memory:")))
