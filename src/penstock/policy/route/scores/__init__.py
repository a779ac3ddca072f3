"""Scorers by name. One is made for a decision's candidates, then asked for each: 0 to 1, 1 is best."""

from collections.abc import Callable

from penstock.core.registry import Registry
from penstock.policy.route.scores.adapter import adapter
from penstock.policy.route.scores.cost import cost
from penstock.policy.route.scores.kv import kv_pressure
from penstock.policy.route.scores.latency import predicted_latency
from penstock.policy.route.scores.load import load
from penstock.policy.route.scores.prefix import prefix
from penstock.policy.route.scores.priority import priority
from penstock.policy.route.scores.session import session
from penstock.policy.route.view import View

Scorer = Callable[[View], Callable[[int], float]]

SCORERS: Registry[Scorer] = Registry(
    "scorer",
    {
        "adapter": adapter,
        "cost": cost,
        "kv_pressure": kv_pressure,
        "load": load,
        "predicted_latency": predicted_latency,
        "prefix": prefix,
        "priority": priority,
        "session": session,
    },
)
