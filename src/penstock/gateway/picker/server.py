"""The gRPC side: external processing, and health for probes. The one place that imports grpc."""

from collections.abc import Callable
from typing import Any

import grpc
import msgspec

from penstock.gateway.picker.exchange import Exchange
from penstock.gateway.picker.messages import (
    EXT_PROC,
    HEALTH,
    HealthCheckRequest,
    HealthCheckResponse,
    Message,
    ProcessingRequest,
)

PROCESSOR = f"{EXT_PROC}.ExternalProcessor"
SERVING, NOT_SERVING = 1, 2
MESSAGE_ROOM = 1 << 20
"""Bytes of a message besides its body: headers, metadata."""


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """Where and how it listens."""

    host: str
    port: int
    """0 lets the system choose one."""
    body_bytes: int
    streams: int
    """Requests at once; more are refused, and the proxy's failure mode decides what becomes of them."""
    drain_s: float
    tls: tuple[bytes, bytes] | None = None
    """PEM: private key, certificate chain."""


class PickerServer:
    """`start`, then `stop`. `ready` answers readiness probes; `open_exchange` begins a request."""

    def __init__(self, settings: Settings, open_exchange: Callable[[], Exchange], ready: Callable[[], bool]) -> None:
        self._settings = settings
        self._open_exchange = open_exchange
        self._ready = ready
        self._stopping = False
        self._server: Any = None

    async def start(self) -> int:
        """Listens; the port. Raises OSError when the address cannot be had."""
        settings = self._settings
        largest = settings.body_bytes + MESSAGE_ROOM
        self._server = grpc.aio.server(
            options=[
                ("grpc.max_receive_message_length", largest),
                ("grpc.max_send_message_length", largest),
                ("grpc.so_reuseport", 0),
            ],
            maximum_concurrent_rpcs=settings.streams,
        )
        self._server.add_generic_rpc_handlers((self._processor(), self._health()))
        place = f"[{settings.host}]" if ":" in settings.host else settings.host
        address = f"{place}:{settings.port}"
        try:
            if settings.tls is None:
                port = self._server.add_insecure_port(address)
            else:
                port = self._server.add_secure_port(address, grpc.ssl_server_credentials([settings.tls]))
        except RuntimeError as error:
            raise OSError(f"cannot listen on {address}: {error}") from None
        await self._server.start()
        return int(port)

    async def stop(self) -> None:
        """Takes no new stream, lets those that run end for a while, then breaks them off."""
        self._stopping = True
        await self._server.stop(self._settings.drain_s)

    def _processor(self) -> Any:
        process = grpc.stream_stream_rpc_method_handler(
            self._process, ProcessingRequest.FromString, lambda message: message.SerializeToString()
        )
        return grpc.method_handlers_generic_handler(PROCESSOR, {"Process": process})

    def _health(self) -> Any:
        check = grpc.unary_unary_rpc_method_handler(
            self._check, HealthCheckRequest.FromString, lambda message: message.SerializeToString()
        )
        return grpc.method_handlers_generic_handler(f"{HEALTH}.Health", {"Check": check})

    async def _process(self, _requests: object, context: Any) -> None:
        """One request. The proxy ends the stream when it has nothing more to ask, or its client has left."""
        exchange = self._open_exchange()
        try:
            while (message := await context.read()) is not grpc.aio.EOF:
                for answer in exchange.feed(message):
                    await context.write(answer)
        finally:
            exchange.close()

    async def _check(self, request: Message, context: Any) -> Message:
        """`liveness` holds while this answers; everything else also needs engines and no end in sight."""
        if request.service not in ("", "liveness", "readiness", PROCESSOR):
            await context.abort(grpc.StatusCode.NOT_FOUND, "unknown service")
        live = request.service == "liveness"
        serving = live or (self._ready() and not self._stopping)
        return HealthCheckResponse(status=SERVING if serving else NOT_SERVING)
