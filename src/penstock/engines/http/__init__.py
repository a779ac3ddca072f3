"""HTTP/1.1 client side of the data path: kept-alive connections, bytes pushed into a Sink from the socket callback."""

from penstock.engines.http.engine import HttpEngine
from penstock.engines.http.outbox import Outbox

__all__ = ["HttpEngine", "Outbox"]
