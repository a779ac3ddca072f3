"""The engines as the proxy addresses them: `ip:port`, with what probes, metrics and failures say of each."""

import asyncio
import socket
from collections.abc import Callable, Mapping, Sequence
from ipaddress import ip_address
from urllib.parse import urlsplit

from penstock.config.engines import Engine
from penstock.core.clock import monotonic
from penstock.core.tasks import Tasks
from penstock.gateway.fleet import Member
from penstock.gateway.members import Surroundings, open_group
from penstock.policy.route.facts import EngineFacts

CONNECT_S = 1.0
"""An engine that takes no connection for so long is not there."""
RESOLVED_S = 10.0
"""How long the address of a host name is believed."""

View = Callable[[Sequence[EngineFacts], frozenset[str], float], None]


class Watch:
    """Keeps `view` informed: engines that are ready, and the models of all that are configured."""

    def __init__(self, engines: Sequence[Engine], view: View, interval_s: float, environ: Mapping[str, str]) -> None:
        self._changed = asyncio.Event()
        around = Surroundings(self._changed.set, environ, {}, interval_s)
        self._groups = [open_group(settings, around) for settings in engines]
        self._view = view
        self._interval_s = interval_s
        self._addresses: dict[str, tuple[str, float]] = {}
        self._doubted: set[str] = set()
        self._checks = Tasks()
        self.settled = False
        """An engine was ready once: what is said from now on is knowledge, not its lack."""

    async def run(self) -> None:
        """Follows the engines until cancelled."""
        try:
            async with asyncio.TaskGroup() as tasks:
                for group in self._groups:
                    tasks.create_task(group.run())
                while True:
                    await self._tell()
                    self._changed.clear()
                    await self._news()
        finally:
            await self._checks.cancel()

    def doubt(self, name: str) -> None:
        """Somebody found nobody at `name`: it is left out until it takes a connection again."""
        if name not in self._doubted:
            self._doubted.add(name)
            self._changed.set()
            self._checks.spawn(self._check(name))

    async def _check(self, name: str) -> None:
        host, _, port = name.rpartition(":")
        while any(name == address for address, _ in self._addresses.values()):
            try:
                async with asyncio.timeout(CONNECT_S):
                    _, writer = await asyncio.open_connection(host.strip("[]"), int(port))
            except (OSError, TimeoutError):
                await asyncio.sleep(self._interval_s)
            else:
                writer.close()
                break
        self._doubted.discard(name)
        self._changed.set()

    async def _news(self) -> None:
        """A change, or the time for new readings."""
        try:
            async with asyncio.timeout(self._interval_s):
                await self._changed.wait()
        except TimeoutError:
            return

    async def _tell(self) -> None:
        members = [member for group in self._groups for member in group.members]
        addresses = {
            member.endpoint.url: await self._address(member.endpoint.url) for member in members if member.endpoint.url
        }
        self._addresses = {url: found for url, found in self._addresses.items() if url in addresses}
        ready = [
            _facts(address, member, 0.0 if address in self._doubted else 1.0)
            for member in members
            if member.endpoint.ready and (address := addresses.get(member.endpoint.url, ""))
        ]
        self.settled = self.settled or bool(ready)
        models = frozenset(model for member in members for model in member.endpoint.models)
        self._view(ready, models, monotonic())

    async def _address(self, url: str) -> str:
        """`ip:port` of an engine's URL; empty while its host has no address."""
        known, until = self._addresses.get(url, ("", 0.0))
        if monotonic() < until:
            return known
        parts = urlsplit(url)
        port = parts.port or (443 if parts.scheme == "https" else 80)
        ip = await _resolve(parts.hostname or "", port)
        if ip:
            known = f"[{ip}]:{port}" if ":" in ip else f"{ip}:{port}"
        self._addresses[url] = (known, monotonic() + RESOLVED_S)
        return known


async def _resolve(host: str, port: int) -> str:
    """The lowest address of a host, so that the choice is stable; empty when it has none."""
    try:
        return str(ip_address(host))
    except ValueError:
        pass
    try:
        found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except OSError:
        return ""
    return min(str(address[0]) for *_, address in found)


def _facts(name: str, member: Member, weight: float) -> EngineFacts:
    endpoint, load = member.endpoint, member.load
    return EngineFacts(
        name,
        frozenset(endpoint.models),
        adapters=endpoint.adapters,
        pool=endpoint.pool,
        role=endpoint.role,
        cost=endpoint.cost,
        weight=weight,
        kv_capacity_tokens=(load.kv_capacity_tokens or 0) if load is not None else 0,
        max_in_flight=endpoint.max_in_flight,
        load=load,
    )
