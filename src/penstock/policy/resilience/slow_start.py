"""How much of its fair load a new or recovered engine gets: caches are cold, and its queue is empty when all others'
are not, so without this every waiting request would go there at once.

    weight(age) = max(minimum, min(1, age / window) ** (1 / aggression))

The formula is Envoy's slow start (its load balancing documentation), without its grain of one second.
"""

from typing import Annotated

import msgspec
from msgspec import Meta


class SlowStartSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The first seconds of an engine."""

    window: Annotated[float, Meta(ge=0, le=3600, description="Seconds until the full load; 0: at once")] = 10.0
    minimum: Annotated[float, Meta(gt=0, le=1, description="Share of its fair load it gets at the start")] = 0.1
    aggression: Annotated[float, Meta(ge=0.1, le=10, description="1: linear; above it, faster at first")] = 1.0


def weight(settings: SlowStartSettings, age_s: float) -> float:
    """Share of its fair load, in [minimum, 1], for an engine that has been well for `age_s` seconds."""
    age = max(0.0, age_s)
    if age >= settings.window:
        return 1.0
    risen: float = (age / settings.window) ** (1.0 / settings.aggression)
    return max(settings.minimum, risen)
