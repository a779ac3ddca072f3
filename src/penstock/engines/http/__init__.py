"""HTTP/1.1 client side of the data path: kept-alive connections, bytes pushed into a Sink from the socket callback."""

from penstock.engines.http.engine import HttpEngine

__all__ = ["HttpEngine"]
