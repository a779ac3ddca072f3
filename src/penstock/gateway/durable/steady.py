"""Calls to a broker that may be away for a moment."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import ParamSpec, TypeVar

from penstock.core.clock import monotonic
from penstock.state.queue.broker import BrokerAway

P = ParamSpec("P")
T = TypeVar("T")
AGAIN_S = 0.2
"""Between two tries."""


async def steadily(within_s: float, call: Callable[P, Awaitable[T]], *args: P.args, **named: P.kwargs) -> T:
    """Repeats a call while the broker is away, for so long. Raises BrokerAway."""
    end = monotonic() + within_s
    while True:
        try:
            return await call(*args, **named)
        except BrokerAway:
            if monotonic() > end:
                raise
            await asyncio.sleep(AGAIN_S)
