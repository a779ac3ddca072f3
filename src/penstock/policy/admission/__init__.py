"""Who waits for an engine, for how long, and who is told to go: a bounded queue per pool."""

from penstock.policy.admission.order import Order, PriorityFifo, Waiter
from penstock.policy.admission.outcome import Admitted, Outcome, Queued, Rejected
from penstock.policy.admission.queue import AdmissionQueue, AdmissionSettings

__all__ = [
    "AdmissionQueue",
    "AdmissionSettings",
    "Admitted",
    "Order",
    "Outcome",
    "PriorityFifo",
    "Queued",
    "Rejected",
    "Waiter",
]
