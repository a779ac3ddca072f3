"""The process behind `penstock up`: engines, workers, the admin listener, signals.

SIGTERM and SIGINT drain and stop. SIGHUP loads the config anew: a valid one gets new workers and engines before the old
ones drain; an invalid one changes nothing (law 10).
"""

import asyncio
import logging
import os
import signal
import socket
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec
import uvicorn
import uvloop
from starlette.routing import Route

from penstock.config import Loaded
from penstock.config.engines import Engine
from penstock.config.schema import Config
from penstock.core.endpoint import Endpoint, EngineState
from penstock.core.errors import ConfigError, PenstockError, RequestError
from penstock.core.tasks import Tasks
from penstock.core.tenant import Principal
from penstock.gateway.admin.admins import Admins
from penstock.gateway.admin.app import create_admin
from penstock.gateway.admin.settings import AdminSettings
from penstock.gateway.admin.tenants import Tenants
from penstock.gateway.books import actor_of
from penstock.gateway.caches.fleet import Caches
from penstock.gateway.caches.news import Cached
from penstock.gateway.caches.source import check_source, open_source
from penstock.gateway.control import Drain, Fleet, Loads, Prompts
from penstock.gateway.crew import Hand, hire
from penstock.gateway.fleet import Group
from penstock.gateway.members import Surroundings, open_group
from penstock.gateway.platform import Platform
from penstock.gateway.stores import Stores
from penstock.gateway.worker import tls_context
from penstock.state.identity.rows import Row
from penstock.telemetry.accesslog import open_log

log = logging.getLogger("penstock.supervisor")

Models = dict[str, Path]
"""Engine name -> model file, for engines that Penstock runs itself."""

FIRST_RESPITE_S, LONGEST_RESPITE_S = 0.2, 10.0
"""Pause before a dead worker is replaced: doubled while workers keep dying young."""


UNDECIDED = frozenset({EngineState.STOPPED, EngineState.STARTING, EngineState.WARMING, EngineState.RESTARTING})
"""States of a new engine on its way to READY, FAILED or UNREACHABLE."""


class Banner(msgspec.Struct, frozen=True):
    """What `up` tells once the API answers."""

    api_url: str
    admin_url: str
    models: list[str]
    engines: list[str]


def run(
    loaded: Loaded,
    model_paths: Models,
    reload: Callable[[], tuple[Loaded, Models]],
    banner: Callable[[Banner], None],
    first_key: Callable[[str], None],
) -> None:
    """Runs the platform until a signal ends it. Raises PenstockError when it cannot start.

    `first_key` shows the secret of the first admin key, once.
    """
    uvloop.run(Supervisor(loaded.config, model_paths, reload, banner, first_key).run())


class Running(msgspec.Struct, frozen=True):
    """An entry of the config that is kept, and the settings it was started with."""

    settings: Engine
    group: Group
    task: "asyncio.Task[None]"


class Supervisor:
    def __init__(
        self,
        config: Config,
        model_paths: Models,
        reload: Callable[[], tuple[Loaded, Models]],
        banner: Callable[[Banner], None],
        first_key: Callable[[str], None],
    ) -> None:
        self._first_key = first_key
        self._config = config
        self._model_paths = model_paths
        self._reload = reload
        self._banner = banner
        self._stopping = asyncio.Event()
        self._tasks = Tasks()
        self._engines: list[Running] = []
        """Engines of the config in force, in its order."""
        self._listener: socket.socket | None = None
        self._crew: list[Hand] = []
        """Workers of the config in force."""
        self._reloading = asyncio.Lock()
        self._bannered = False
        self.platform = Platform("")
        self.caches = self.platform.caches = Caches(open_source, self._tell_cached)
        self.stores = self.platform.stores = Stores(config, lambda: self.platform.hands)
        self.platform.audited = self.stores.audited

    async def run(self) -> None:
        check_files(self._config)
        self._listener = bind("listen", self._config.listen.host, self._config.listen.port, self._config.listen.backlog)
        admin_socket = bind("admin", self._config.admin.host, self._config.admin.port, 128)
        admin_url = f"http://{address_of(admin_socket)}"
        self._describe_api()
        await self._open_stores()
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._stopping.set)
        loop.add_signal_handler(signal.SIGHUP, lambda: self._tasks.spawn(self._take_new_config()))
        admin, serving = self._start_admin(admin_socket)
        try:
            self._publish(self._start_engines(self._config, self._model_paths))
            self._crew = await self._hire_all(self._config, self._config.workers, self._listener, self._endpoints)
            self._tasks.spawn(self._announce(admin_url))
            self._tasks.spawn(self._tell_loads())
            if self.stores.tenants is not None:
                self._tasks.spawn(self.platform.watch_shares())
            await self._stopping.wait()
        finally:
            log.info("stopping: running requests may take up to %g s", self._config.timeouts.drain)
            self._listener.close()
            await self._dismiss(self.platform.hands)
            await self._stop_engines(self._engines)
            await self.caches.close()
            admin.should_exit = True
            await serving
            await self._tasks.cancel()
            await self.stores.close()

    def _describe_api(self) -> None:
        assert self._listener is not None
        scheme = "https" if self._config.listen.tls else "http"
        self.platform.api_url = f"{scheme}://{address_of(self._listener)}"
        self.platform.open = self._config.auth.open

    async def _open_stores(self) -> None:
        """Raises ConfigError when a store that the config names cannot be used."""
        try:
            await self.stores.open()
        except RequestError as error:
            raise ConfigError(f"state: {error}") from None
        if self.stores.first_key:
            self._first_key(self.stores.first_key)
            self.stores.first_key = ""

    def _start_admin(self, admin_socket: socket.socket) -> tuple[uvicorn.Server, asyncio.Task[None]]:
        settings = AdminSettings(
            host=self._config.admin.host,
            token=self._config.admin.token,
            api=self.platform.api_url,
            api_certificate=self._config.listen.tls.certificate if self._config.listen.tls else "",
        )
        stores = self.stores
        admins = Admins(settings.token, stores.callers if stores.tenants is not None else None)
        more: list[Route] = []
        if stores.tenants is not None:

            def told(who: Principal, action: str, row: Row) -> None:
                stores.audited(action, row, actor_of(who))

            more = Tenants(stores.tenants, admins, stores.hurry, told).routes()
        app = create_admin(self.platform, settings, admins=admins, more=more)
        server = AdminServer(
            uvicorn.Config(app, log_level="warning", access_log=False, timeout_graceful_shutdown=1, lifespan="on")
        )
        return server, self._tasks.spawn(server.serve(sockets=[admin_socket]))

    async def _announce(self, admin_url: str) -> None:
        while not self.platform.ready()[0]:
            if all(member.endpoint.state is EngineState.FAILED for member in self.platform.members):
                log.error("no engine could start: %s", "; ".join(self.platform.ready()[1]))
                return
            await asyncio.sleep(0.05)
        about = self.platform.about()
        models, engines = about["models"], [m.name for m in self.platform.members]
        assert isinstance(models, list)
        self._banner(Banner(self.platform.api_url, admin_url, models, engines))

    # -- engines ----------------------------------------------------------------------------------------------------

    def _start_engines(self, config: Config, model_paths: Models) -> list[Running]:
        """The engines of `config`: those that run with these settings already, and new ones for the rest."""
        running = {engine.settings.name: engine for engine in self._engines}
        engines = []
        for settings in config.engines:
            engine = running.get(settings.name)
            if engine is None or engine.settings != settings:
                around = Surroundings(
                    self._engines_changed,
                    os.environ,
                    model_paths,
                    config.routing.load_interval,
                    kv_events=config.routing.prefixes == "precise",
                )
                group = open_group(settings, around)
                engine = Running(settings, group, self._tasks.spawn(group.run()))
            engines.append(engine)
        return engines

    def _publish(self, engines: list[Running]) -> None:
        self._engines = engines
        self.platform.groups = [engine.group for engine in engines]
        self._engines_changed()

    async def _stop_engines(self, engines: list[Running]) -> None:
        for engine in engines:
            engine.task.cancel()
        await asyncio.gather(*(engine.task for engine in engines), return_exceptions=True)

    def _endpoints(self) -> tuple[Endpoint, ...]:
        return endpoints_of(self.platform.groups)

    def _engines_changed(self) -> None:
        endpoints = self._endpoints()
        for hand in self._crew:
            hand.send(Fleet(endpoints))
        # After the workers have heard of it: they know nothing of an engine's cache before they know the engine.
        self.caches.follow(endpoints if self._config.routing.prefixes == "precise" else ())

    def _tell_cached(self, news: Cached) -> None:
        for hand in self._crew:
            hand.send(news)

    def _pass_on(self, hand: Hand, prompts: Prompts) -> None:
        for other in self._crew:
            if other is not hand:
                other.send(prompts)

    async def _tell_loads(self) -> None:
        """Passes the engines' readings on to the workers."""
        while True:
            await asyncio.sleep(self._config.routing.load_interval)
            loads = {member.name: member.load for member in self.platform.members if member.load is not None}
            for hand in self._crew:
                hand.send(Loads(loads))

    # -- workers ----------------------------------------------------------------------------------------------------

    async def _hire_all(
        self, config: Config, count: int, listener: socket.socket, endpoints: Callable[[], tuple[Endpoint, ...]]
    ) -> list[Hand]:
        """A crew of `count` workers that take requests. Raises PenstockError, leaving none behind, when one cannot."""
        hands: list[Hand] = []
        try:
            for _ in range(count):
                hand = await hire(lambda: self.stores.start(config, endpoints()), listener)
                hand.wants = self.stores.heard
                hand.sent = self._pass_on
                hands.append(hand)
                self.platform.hands.append(hand)
                self._tasks.spawn(hand.listen())
            await asyncio.gather(*(hand.started() for hand in hands))
        except PenstockError as error:
            await self._dismiss(hands)
            raise PenstockError(f"a worker could not start: {error}") from None
        for hand in hands:
            hand.send(Fleet(endpoints()))
            for news in self.caches.snapshot():
                hand.send(news)
            self._tasks.spawn(self._watch(hand))
        return hands

    async def _watch(self, hand: Hand) -> None:
        """Replaces a worker that dies unasked."""
        code = await hand.process.wait()
        self.stores.left(hand)
        if hand in self.platform.hands:
            self.platform.bury(hand)
        if hand.draining or self._stopping.is_set():
            return
        log.error("worker %d died (exit %s); starting another", hand.process.pid, code)
        self._crew.remove(hand)
        respite = FIRST_RESPITE_S
        while not self._stopping.is_set():
            await asyncio.sleep(respite)
            respite = min(2 * respite, LONGEST_RESPITE_S)
            assert self._listener is not None
            try:
                # One at a time through the same door as a whole crew.
                self._crew += await self._hire_all(self._config, 1, self._listener, self._endpoints)
                self.platform.worker_restarts += 1
                return
            except (PenstockError, OSError) as error:
                log.error("%s", error)

    async def _dismiss(self, hands: list[Hand]) -> None:
        """Drains workers and waits; one that outlasts its drain bound is killed."""
        hands = list(hands)
        for hand in hands:
            hand.draining = True
            hand.send(Drain())
        bound = self._config.timeouts.drain + 5
        for hand in hands:
            try:
                async with asyncio.timeout(bound):
                    await hand.process.wait()
            except TimeoutError:
                hand.process.kill()
                await hand.process.wait()
            if hand in self.platform.hands:
                self.platform.bury(hand)

    # -- a new config -----------------------------------------------------------------------------------------------

    async def _take_new_config(self) -> None:
        async with self._reloading:
            try:
                loaded, model_paths = await asyncio.to_thread(self._reload)
                await self._swap(loaded.config, model_paths)
            except (PenstockError, OSError) as error:
                self.platform.reload_failures += 1
                log.error("config not taken over, the running one stays: %s", error)
            else:
                self.stores.audited("reload", {})
                self.platform.reloads += 1
                log.info("config taken over")

    async def _swap(self, config: Config, model_paths: Models) -> None:
        """New engines, listener and workers first, so that every failure leaves the old ones serving."""
        if config.admin != self._config.admin:
            raise ConfigError("admin: its address and token change only with a restart")
        self.stores.check(config)
        check_files(config)
        old_listener, old_config, old_crew, old_engines = self._listener, self._config, self._crew, self._engines
        assert old_listener is not None
        new, old = config.listen, old_config.listen
        moved = (new.host, new.port) != (old.host, old.port)
        listener = bind("listen", new.host, new.port, new.backlog) if moved else old_listener
        engines = self._start_engines(config, model_paths)
        try:
            await settled([engine for engine in engines if engine not in old_engines])
            crew = await self._hire_all(
                config, config.workers, listener, lambda: endpoints_of(engine.group for engine in engines)
            )
        except PenstockError:
            if moved:
                listener.close()
            await self._stop_engines([engine for engine in engines if engine not in old_engines])
            raise
        self._config, self._model_paths, self._listener, self._crew = config, model_paths, listener, crew
        self._publish(engines)
        self._describe_api()
        leaving = [engine for engine in old_engines if engine not in engines]
        self._tasks.spawn(self._retire(old_crew, old_listener if moved else None, leaving))

    async def _retire(self, crew: list[Hand], listener: socket.socket | None, engines: list[Running]) -> None:
        if listener is not None:
            listener.close()
        await self._dismiss(crew)
        await self._stop_engines(engines)


class AdminServer(uvicorn.Server):
    """uvicorn without its signal handlers: signals belong to the supervisor, and metrics are read while it drains."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


def endpoints_of(groups: Iterable[Group]) -> tuple[Endpoint, ...]:
    """Every engine of the groups, as it is now."""
    return tuple(member.endpoint for group in groups for member in group.members)


async def settled(engines: list[Running]) -> None:
    """Waits until each engine answers or is known not to. Raises ConfigError for one that can never start."""
    groups = [engine.group for engine in engines]
    while any(each.state in UNDECIDED for each in endpoints_of(groups)):  # noqa: ASYNC110 - seconds, not often
        await asyncio.sleep(0.02)
    for endpoint in endpoints_of(groups):
        if endpoint.state is EngineState.FAILED:
            raise ConfigError(f"engines: {endpoint.name} cannot start: {endpoint.reason}")


def check_files(config: Config) -> None:
    """What a config points to must be usable before anything is started. Raises ConfigError."""
    try:
        tls_context(config)
    except OSError as error:
        raise ConfigError(f"listen.tls: cannot use the certificate and key: {error}") from None
    open_log(config.log.access).close()
    if config.routing.prefixes == "precise":
        check_source()


def bind(section: str, host: str, port: int, backlog: int) -> socket.socket:
    """A listening socket. Raises ConfigError that names the field."""
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0][0]
        return socket.create_server((host, port), family=family, backlog=backlog)
    except OSError as error:
        fault = f"{section}: cannot listen on {host}:{port}: {error.strerror or error}"
        raise ConfigError(f"{fault}; choose another {section}.port") from None


def address_of(listener: socket.socket) -> str:
    """host:port of a bound socket as a client on this machine writes it."""
    host, port = listener.getsockname()[:2]
    if host in ("0.0.0.0", "::"):
        host = "127.0.0.1"
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
