"""The picker as a process: desk, watch and server, until it is told to stop."""

import asyncio
import os
import random
import signal
from collections.abc import Callable, Mapping

from penstock.config.engines import Remote
from penstock.config.schema import Config
from penstock.core.clock import monotonic
from penstock.core.errors import ConfigError
from penstock.gateway.picker.desk import Desk
from penstock.gateway.picker.exchange import Exchange
from penstock.gateway.picker.server import PickerServer, Settings
from penstock.gateway.picker.watch import Watch


async def serve(
    config: Config,
    settings: Settings,
    *,
    objectives: Mapping[str, int],
    fallbacks: int,
    started: Callable[[int], None],
) -> None:
    """Serves until SIGTERM or SIGINT. Raises ConfigError or OSError. `started` learns the port."""
    engines = [engine for engine in config.engines if isinstance(engine, Remote)]
    if not engines:
        raise ConfigError("engines: the picker needs one of kind http, dns, file or kubernetes; it starts none itself")
    chance = random.Random().random
    desk = Desk(config.routing, config.resilience, chance, objectives=objectives, fallbacks=fallbacks)
    watch = Watch(engines, desk.view, config.routing.load_interval, os.environ)

    def open_exchange() -> Exchange:
        return Exchange(desk, monotonic, watch.doubt, body_bytes=settings.body_bytes)

    server = PickerServer(settings, open_exchange, lambda: watch.settled)
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    watching = asyncio.ensure_future(watch.run())
    try:
        started(await server.start())
        told = asyncio.ensure_future(stop.wait())
        await asyncio.wait((told, watching), return_when=asyncio.FIRST_COMPLETED)
        told.cancel()
        await server.stop()
    finally:
        watching.cancel()
        await asyncio.wait((watching,))
        if not watching.cancelled():
            watching.result()
