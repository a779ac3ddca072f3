"""Requests that wait in a broker: accepted once, run by whoever pulls them, answered exactly once.

A `Job` is the record of one request; its changes are pure functions in `job`. A `Broker` keeps records, hands out ids
and holds answers: Redis or NATS JetStream, chosen by the URL's scheme.
"""

from penstock.state.queue.broker import Broker, BrokerAway, Depth, Held, Kept
from penstock.state.queue.brokers import open_broker
from penstock.state.queue.job import Job, State

__all__ = ["Broker", "BrokerAway", "Depth", "Held", "Job", "Kept", "State", "open_broker"]
