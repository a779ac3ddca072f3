"""An engine at a base URL."""

from __future__ import annotations

import asyncio
import ssl
from urllib.parse import urlsplit

from penstock.core.clock import monotonic
from penstock.core.engine import Exchange, Sink
from penstock.core.errors import UpstreamFailed, UpstreamTimeout
from penstock.core.request import Request
from penstock.core.tasks import Tasks
from penstock.engines.http.exchange import HttpExchange
from penstock.engines.http.outbox import Outbox
from penstock.engines.http.pool import Pool
from penstock.engines.http.upstream import Upstream
from penstock.wire.heads import framed, upstream_head

STANDSTILL_S = 1.0
"""A timer that is so late tells that this process did not run: stopped, starved, or moved to another machine. What came
meanwhile lies unread, so no engine is to be blamed for its silence."""
MOST_SENT = 64
"""Engines for which a connection keeps what its repeated head becomes."""


class HttpEngine:
    """Sends requests to one OpenAI-compatible server.

    `url`: base URL without a trailing `/v1`. `authorization`: header value for the engine, b"" to send none, None to
    pass the client's own on. `connect_timeout`: seconds. `outbox`: of the event loop, shared by all its engines; None
    for one of its own.
    """

    def __init__(
        self,
        url: str,
        *,
        authorization: bytes | None,
        connect_timeout: float,
        connections: int,
        outbox: Outbox | None = None,
    ) -> None:
        parts = urlsplit(url)
        secure = parts.scheme == "https"
        self._host = parts.hostname or ""
        self._port = parts.port or (443 if secure else 80)
        self._authority = parts.netloc.encode("idna" if not parts.netloc.isascii() else "ascii")
        self._base = parts.path.rstrip("/").encode()
        self._tls = ssl.create_default_context() if secure else None
        self._authorization = authorization
        self._connect_timeout = connect_timeout
        self._pool = Pool(connections)
        self._outbox = outbox or Outbox()
        self._tasks = Tasks()

    def send(self, request: Request, sink: Sink, request_id: bytes, *, fresh: bool = False) -> Exchange:
        """Starts the request. `fresh` opens a new connection: the way to retry when a kept-alive one was stale."""
        sent = request.sent
        head = sent.get(self) if sent is not None else None
        if head is None:
            head = upstream_head(request, host=self._authority, base=self._base, authorization=self._authorization)
            if sent is not None and len(sent) < MOST_SENT:
                sent[self] = head
        payload = framed(head, request, request_id)
        exchange = HttpExchange(sink, head_only=request.method == b"HEAD")
        upstream = None if fresh else self._pool.take()
        if upstream is not None:
            exchange.begin(upstream, payload, reused=True)
        else:
            exchange.connecting(self._tasks.spawn(self._connect(exchange, payload)))
        return exchange

    async def _connect(self, exchange: HttpExchange, payload: bytes) -> None:
        began = monotonic()
        try:
            try:
                upstream = await self._upstream()
            except TimeoutError:
                if monotonic() - began < self._connect_timeout + STANDSTILL_S:
                    raise
                upstream = await self._upstream()  # the engine may have accepted long ago
        except TimeoutError:
            exchange.ended()
            reason = f"The engine did not accept a connection within {self._connect_timeout:g} s."
            exchange.sink.failed(UpstreamTimeout(reason, code="connect_timeout"))
        except OSError as error:
            exchange.ended()
            reason = f"The engine refused the connection: {error.strerror or error}."
            exchange.sink.failed(UpstreamFailed(reason, code="upstream_refused"))
        else:
            exchange.begin(upstream, payload, reused=False)

    async def _upstream(self) -> Upstream:
        """Raises TimeoutError, OSError."""
        loop = asyncio.get_running_loop()
        async with asyncio.timeout(self._connect_timeout):
            _, upstream = await loop.create_connection(
                lambda: Upstream(self._pool, self._outbox), self._host, self._port, ssl=self._tls
            )
        return upstream

    def retire(self) -> None:
        """Closes idle connections; running exchanges finish on theirs, which close after them."""
        self._pool.close()

    def __repr__(self) -> str:
        return f"<HttpEngine {self._host}:{self._port}{self._base.decode()} {self._pool!r}>"
