"""The durable queue: a listener that accepts requests into a broker, and pullers that have the gateway answer them."""
