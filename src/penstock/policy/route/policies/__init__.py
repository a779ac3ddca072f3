"""Policies by name: each picks one of a decision's candidates."""

from collections.abc import Callable

from penstock.core.registry import Registry
from penstock.policy.route.policies.balanced import balanced
from penstock.policy.route.policies.by_load import least_load, power_of_two
from penstock.policy.route.policies.by_prefix import prefix
from penstock.policy.route.policies.by_session import session
from penstock.policy.route.policies.cost import lowest_cost
from penstock.policy.route.policies.latency import predicted_latency
from penstock.policy.route.policies.plain import random, round_robin
from penstock.policy.route.policies.weighted import weighted
from penstock.policy.route.view import Pick, View

Policy = Callable[[View], Pick]

POLICIES: Registry[Policy] = Registry(
    "routing policy",
    {
        "balanced": balanced,
        "least_load": least_load,
        "lowest_cost": lowest_cost,
        "power_of_two": power_of_two,
        "predicted_latency": predicted_latency,
        "prefix": prefix,
        "random": random,
        "round_robin": round_robin,
        "session": session,
        "weighted": weighted,
    },
)
