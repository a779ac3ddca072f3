"""A worker process: the data path of one core.

    python -m penstock.gateway.worker CONTROL_FD LISTEN_FD SERIES_FD

The three descriptors come from the supervisor, the config over the first. SIGTERM and the end of the control channel
drain it; SIGINT is left to the supervisor, so that Ctrl-C in a terminal does not cut streams twice.
"""

import asyncio
import gc
import logging
import os
import signal
import socket
import ssl
import sys
from typing import Any

import msgspec
import uvloop

from penstock.config.schema import Config
from penstock.config.state import data_folder
from penstock.core.clock import monotonic
from penstock.core.errors import PenstockError
from penstock.core.tasks import Tasks
from penstock.gateway.app import App
from penstock.gateway.billing import Billing
from penstock.gateway.caches.news import Cached
from penstock.gateway.connection import Connection
from penstock.gateway.control import (
    Answer,
    Ask,
    Channel,
    Drain,
    Failed,
    Fleet,
    Identity,
    Loads,
    Prompts,
    ProviderKeys,
    Start,
    ToWorker,
    Up,
)
from penstock.gateway.objects import objects
from penstock.gateway.why import why
from penstock.policy.identity.directory import Directory
from penstock.policy.limit.messages import Grants
from penstock.state.audit.log import AuditLog
from penstock.state.identity.callers import Callers
from penstock.state.identity.jwt import Tokens
from penstock.state.ledger.journal import Journal, journal_folder
from penstock.telemetry.accesslog import open_log
from penstock.telemetry.catalogue import SHEETS
from penstock.telemetry.meter import Meter
from penstock.telemetry.pulse import Pulse
from penstock.telemetry.series import SeriesWriter

log = logging.getLogger("penstock.worker")

SWEEP_S = 0.1
"""How often timeouts are looked at and log lines handed on."""


def tls_context(config: Config) -> ssl.SSLContext | None:
    """The server's TLS context, or None for plain HTTP. Raises OSError or ssl.SSLError for bad files."""
    tls = config.listen.tls
    if tls is None:
        return None
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tls.certificate, tls.key)
    context.set_alpn_protocols(["http/1.1"])
    return context


def answer_to(ask: Ask, app: App) -> list[Any]:
    """What the supervisor wants to know."""
    match ask.what:
        case "live":
            return app.live()
        case "recent":
            return list(app.recent(ask.limit))
        case "why":
            return why(app, ask.about)
        case "health":
            return [app.fleet.health.explain(monotonic())]
        case "memory":
            return [objects(ask.limit)]
        case "shares":
            return [msgspec.to_builtins(share) for share in app.waiting.shares(monotonic())]
    return []


def billing_of(config: Config) -> Billing | None:
    """The worker's way into the ledger, if it is kept. Raises OSError when the folder cannot be used."""
    if not config.ledger.enabled:
        return None
    journal = Journal(journal_folder(data_folder(config.state.folder)))
    return Billing(journal, refuse=config.ledger.on_full == "refuse")


def audit_of(config: Config, role: str) -> AuditLog | None:
    """This process's chain of the audit log, open, if it is kept. Raises AuditFailed or ConfigError."""
    if not config.audit.enabled or (role == "worker" and config.audit.requests == "off"):
        return None
    log = AuditLog(data_folder(config.state.folder) / "audit", role, config.audit)
    log.open()
    return log


class Worker:
    """Serves one config until it is drained."""

    def __init__(self, channel: "Channel[ToWorker]", listener: socket.socket, series: SeriesWriter) -> None:
        self._channel = channel
        self._listener = listener
        self._stopping = asyncio.Event()
        self._tasks = Tasks()
        self._app: App | None = None
        self._server: asyncio.Server | None = None
        self._directory: Directory | None = None
        self._tokens: Tokens | None = None
        self._meter = Meter(series)
        self._pulse = Pulse(self._meter, str(os.getpid()), monotonic)

    async def run(self) -> None:
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, self._stopping.set)
        self._tasks.spawn(self._listen_to_supervisor())
        await self._stopping.wait()
        if self._app is not None:
            await self._drain(self._app)
        self._pulse.stop()
        await self._tasks.cancel()
        self._channel.close()

    async def _listen_to_supervisor(self) -> None:
        try:
            async for message in self._channel:
                await self._take(message)
        finally:
            self._stopping.set()

    async def _take(self, message: ToWorker) -> None:
        match message:
            case Start():
                try:
                    await self._start(message)
                except (PenstockError, OSError) as error:
                    self._channel.send(Failed(str(error)))
                    self._stopping.set()
            case Drain():
                self._stopping.set()
            case Identity():
                if self._directory is not None:
                    self._directory.take(message.changes)
            case ProviderKeys():
                if self._tokens is not None:
                    self._tokens.take(message.keys)
            case _:
                if self._app is not None:
                    self._tell(self._app, message)

    def _tell(self, app: App, message: Fleet | Loads | Cached | Prompts | Grants | Ask) -> None:
        match message:
            case Fleet():
                app.fleet.update(message.endpoints, monotonic())
            case Loads():
                app.fleet.take_loads(message.loads)
            case Cached():
                app.fleet.take_cached(message)
            case Prompts():
                app.fleet.take_sent(message.sent)
            case Grants():
                app.limiter.take(message, monotonic())
            case Ask():
                self._channel.send(Answer(message.id, answer_to(message, app)))

    async def _start(self, message: Start) -> None:
        config = message.config
        self._directory = Directory() if config.auth.tenants else None
        oidc = config.auth.oidc
        self._tokens = Tokens(oidc, self._directory or Directory()) if oidc is not None else None
        if self._directory is not None and message.identity is not None:
            self._directory.take(message.identity)
        if self._tokens is not None:
            self._tokens.take(message.provider)
        app = App(
            config,
            self._meter,
            open_log(config.log.access),
            Callers(config.auth.keys, self._directory, self._tokens),
            self._channel.send,
            billing_of(config),
            audit_of(config, "worker"),
        )
        if config.workers > 1:
            app.fleet.router.share()
        app.fleet.update(message.endpoints, monotonic())
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(
            lambda: Connection(app), sock=self._listener, ssl=tls_context(config), backlog=config.listen.backlog
        )
        self._app = app
        self._tasks.spawn(self._sweep(app))
        # What exists now lives as long as the process: the collector need not look at it again.
        gc.collect()
        gc.freeze()
        gc.set_threshold(20_000, 20, 50)
        self._pulse.start(loop)
        self._channel.send(Up())

    async def _sweep(self, app: App) -> None:
        while True:
            await asyncio.sleep(SWEEP_S)
            try:
                for _ in app.steps(monotonic()):
                    await asyncio.sleep(0)
                if sent := app.fleet.router.sent():
                    self._channel.send(Prompts(sent))
            except Exception:
                # Without the sweep there are no timeouts: one fault in it must not end it.
                log.exception("the sweep failed; it goes on")

    async def _drain(self, app: App) -> None:
        if self._server is not None:
            self._server.close()
        app.drain()
        end = monotonic() + app.timeouts.drain
        while not app.drained() and monotonic() < end:  # noqa: ASYNC110 - an Event would cost every request
            await asyncio.sleep(0.02)
        app.abandon()
        await asyncio.sleep(0.05)  # typed errors leave the socket buffers
        app.sweep(monotonic())
        app.log.close()
        if app.billing is not None:
            app.billing.shut()
        if app.audit is not None:
            app.audit.close()


async def _main(control: int, listen: int, series: int) -> None:
    reader, writer = await asyncio.open_unix_connection(sock=socket.socket(fileno=control))
    channel: Channel[ToWorker] = Channel(reader, writer, ToWorker)
    await Worker(channel, socket.socket(fileno=listen), SeriesWriter(series, SHEETS)).run()


def main(arguments: list[str]) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    logging.basicConfig(level=logging.INFO, format=f"%(levelname)s worker {os.getpid()} %(name)s: %(message)s")
    control, listen, series = map(int, arguments)
    uvloop.run(_main(control, listen, series))


if __name__ == "__main__":
    main(sys.argv[1:])
