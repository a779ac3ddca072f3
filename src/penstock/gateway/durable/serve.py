"""The durable queue as a process: listener and puller, until it is told to stop."""

import asyncio
import logging
import signal
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import uvicorn

from penstock.config.check import is_loopback
from penstock.core.clock import wall
from penstock.core.errors import ConfigError
from penstock.gateway.durable.app import Listener, Metrics, create_app
from penstock.gateway.durable.callers import Callers
from penstock.gateway.durable.counts import Counts
from penstock.gateway.durable.desk import Desk
from penstock.gateway.durable.puller import Puller
from penstock.gateway.durable.settings import Settings
from penstock.state.queue.broker import Broker

log = logging.getLogger("penstock.durable")


class Server(uvicorn.Server):
    """uvicorn without its signal handlers: the process has its own."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


async def serve(
    broker: Broker, settings: Settings, *, relaxed: bool, listen: bool, started: Callable[[str], None]
) -> None:
    """Serves until SIGTERM or SIGINT. Raises ConfigError or OSError. `started` learns the address.

    `relaxed`: a broker that may lose what it was told is accepted, with a warning. `listen`: False only pulls.
    """
    callers, counts = Callers(settings.gateway), Counts()
    bound = _bind(settings) if listen else None
    try:
        await _check(broker, callers, settings, relaxed=relaxed, listen=listen)
        puller = Puller(broker, settings, wall, counts)
        desk = Desk(broker, wall, counts, settings.expires_s)
        listener = Listener(desk, broker, callers, settings)
        app = create_app(listener, Metrics(broker, counts, puller, wall))
        server = Server(
            uvicorn.Config(
                app,
                log_level="warning",
                access_log=False,
                lifespan="off",
                timeout_graceful_shutdown=5,
                timeout_keep_alive=75,
            )
        )
        stop = asyncio.Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(number, stop.set)
        pulling = asyncio.ensure_future(puller.run() if settings.concurrency else stop.wait())
        serving = asyncio.ensure_future(server.serve(sockets=[bound]) if bound is not None else stop.wait())
        told = asyncio.ensure_future(stop.wait())
        started("" if bound is None else f"http://{settings.host}:{bound.getsockname()[1]}")
        await asyncio.wait((told, pulling, serving), return_when=asyncio.FIRST_COMPLETED)
        stop.set()
        puller.stop()
        server.should_exit = True
        await asyncio.gather(told, pulling, serving)
    finally:
        if bound is not None:
            bound.close()
        await callers.close()
        await broker.close()


async def _check(broker: Broker, callers: Callers, settings: Settings, *, relaxed: bool, listen: bool) -> None:
    doubts = await broker.open()
    for doubt in doubts:
        log.warning("%s", doubt)
    if listen and any("set:" in doubt and doubt.startswith("Redis") for doubt in doubts) and not relaxed:
        raise ConfigError(f"--broker: {'; '.join(doubts)}; or accept that with --relaxed")
    if listen and not is_loopback(settings.host) and not await callers.needed():
        raise ConfigError(
            f"--host: {settings.host!r} is not loopback, and the gateway at {settings.gateway} asks for no key or does "
            f"not answer; start the gateway with keys first, or bind 127.0.0.1"
        )


def _bind(settings: Settings) -> socket.socket:
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    bound = socket.socket(family, socket.SOCK_STREAM)
    bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        bound.bind((settings.host, settings.port))
        bound.listen(2048)
    except OSError:
        bound.close()
        raise
    return bound
