"""Who waits for an engine, for how long, and who is told to go: a bounded queue per pool."""

from penstock.policy.admission.order import NOBODY, Claim, Order, PriorityFifo, Waiter
from penstock.policy.admission.outcome import Admitted, Outcome, Queued, Rejected
from penstock.policy.admission.queue import AdmissionQueue, AdmissionSettings

__all__ = [
    "NOBODY",
    "AdmissionQueue",
    "AdmissionSettings",
    "Admitted",
    "Claim",
    "Order",
    "Outcome",
    "PriorityFifo",
    "Queued",
    "Rejected",
    "Waiter",
]
