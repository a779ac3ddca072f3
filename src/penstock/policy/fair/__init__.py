"""Token-fair sharing of busy engines between tenants: counters of service, the order that follows them, measures."""

from penstock.policy.fair.counters import Account, Counters, Shares
from penstock.policy.fair.measures import Backlog, Served, Window, jain
from penstock.policy.fair.order import FairOrder, FairSettings
from penstock.policy.fair.prices import Prices
from penstock.policy.fair.rivals import rivals
from penstock.policy.fair.turn import Turn

__all__ = [
    "Account",
    "Backlog",
    "Counters",
    "FairOrder",
    "FairSettings",
    "Prices",
    "Served",
    "Shares",
    "Turn",
    "Window",
    "jain",
    "rivals",
]
