"""What the admin listener shows: numbers and Records of all workers, and the state of every engine."""

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from math import nan
from typing import Any

import httpx
import msgspec

import penstock
from penstock.core.clock import monotonic, wall
from penstock.core.errors import BadRequest, NotFound
from penstock.core.load import Load
from penstock.engines.lora import AdapterError, AdapterNotFound, Adapters
from penstock.gateway.admin.state import Buckets, Costs, Fairness, Limits, Row, Totals
from penstock.gateway.caches.fleet import Caches
from penstock.gateway.crew import Hand
from penstock.gateway.fairness import LOOK_S, Shares
from penstock.gateway.fleet import Group, Member
from penstock.gateway.stores import Stores
from penstock.gateway.uses import limit_row
from penstock.gateway.waiting import Share
from penstock.telemetry import buckets, series
from penstock.telemetry.catalogue import CACHES, MISSING, PLATFORM, PROCESS, REQUESTS, SHEETS, SIGNALS, TRAFFIC
from penstock.telemetry.exposition import render
from penstock.telemetry.meter import BETWEEN, CONNECTIONS, EVENTS, FIRST_TOKEN, IN_FLIGHT, INPUT, OUTPUT

log = logging.getLogger("penstock.fleet")

ERRORS = frozenset({"upstream_failed", "timed_out", "unavailable", "internal_error"})


class Platform:
    """Implements `admin.state.AdminState` over the workers and engines that the supervisor holds."""

    def __init__(self, api_url: str) -> None:
        self.api_url = api_url
        self.open = True
        self.audited: Callable[[str, Mapping[str, object]], None] = lambda what, fields: None
        """Writes an action into the audit log, before it is done."""
        self.hands: list[Hand] = []
        """Workers alive, draining ones included."""
        self.groups: list[Group] = []
        """Entries of the config in force, in its order."""
        self.caches: Caches | None = None
        """What engines tell of theirs."""
        self.stores: Stores | None = None
        """Of limits, costs and tenants."""
        self.worker_restarts = self.reloads = self.reload_failures = 0
        self._shares = Shares()
        self._gone = series.Totals()
        self._started = monotonic()

    @property
    def members(self) -> list[Member]:
        """Every engine there is now."""
        return [member for group in self.groups for member in group.members]

    def bury(self, hand: Hand) -> None:
        """Keeps the counters of a worker that has ended."""
        self.hands.remove(hand)
        self._gone.add(hand.series, gauges=False)

    def _sum(self) -> series.Totals:
        totals = self._gone.copy()
        for hand in self.hands:
            totals.add(hand.series, gauges=True)
        return totals

    # -- AdminState -------------------------------------------------------------------------------------------------

    async def metrics(self) -> bytes:
        rows = self._sum().rows
        for member in self.members:
            endpoint = member.endpoint
            restarts = member.describe().get("restarts") or 0
            key = ("engines", (endpoint.name, endpoint.kind))
            rows[key] = [float(endpoint.ready), float(str(restarts))]
            if member.load is not None:
                rows[SIGNALS.name, (endpoint.name,)] = _signals(member.load)
                rows |= {(MISSING.name, (endpoint.name, signal)): [1.0] for signal in member.load.missing}
        for follower in self.caches.followers if self.caches is not None else ():
            rows[CACHES.name, (follower.engine,)] = follower.row()
        up = sum(hand.up and not hand.draining for hand in self.hands)
        rows["platform", ()] = [up, self.worker_restarts, self.reloads, self.reload_failures]
        if self.stores is not None:
            rows |= await self.stores.rows()
            if self.stores.tenants is not None:
                rows |= self._shares.rows()
        rows["build", (penstock.__version__,)] = [1.0]
        return render((*SHEETS, *PLATFORM), rows)

    def ready(self) -> tuple[bool, list[str]]:
        reasons = []
        if not any(hand.up and not hand.draining for hand in self.hands):
            reasons.append("no worker is up")
        if not any(member.endpoint.ready for member in self.members):
            for member in self.members:
                endpoint = member.endpoint
                why = f": {endpoint.reason}" if endpoint.reason else ""
                reasons.append(f"engine {endpoint.name} is {endpoint.state}{why}")
        return not reasons, reasons

    def engines(self) -> Sequence[Row]:
        load = {labels: row for (name, labels), row in self._sum().rows.items() if name == "engine_load"}
        rows = []
        for member in self.members:
            endpoint = member.endpoint
            row: dict[str, object] = {
                "name": endpoint.name,
                "kind": endpoint.kind,
                "state": endpoint.state.value,
                "address": endpoint.url or None,
                "models": list(endpoint.models),
                "in_flight": int(load.get((endpoint.name,), [0.0])[0]),
                "pool": endpoint.pool,
                "role": endpoint.role,
                "adapters": sorted(endpoint.adapters),
                "load": _load(member.load),
                "kv_events": endpoint.kv_events or None,
                "cache": self.caches.describe(endpoint.name) if self.caches is not None else None,
            }
            rows.append(row | member.describe())
        return rows

    async def requests(self, limit: int) -> Sequence[Row]:
        rows = await self._ask("recent", limit)
        rows.sort(key=lambda row: float(row["time"]), reverse=True)
        return [_with_itl(row) for row in rows[:limit]]

    async def why(self, request_id: str) -> Row | None:
        silent = 0
        for hand in [hand for hand in self.hands if hand.up]:
            rows = await hand.ask("why", about=request_id)
            if rows:
                found: Row = rows[0]
                return found
            silent += rows is None
        if silent:
            raise TimeoutError(f"{silent} of the workers that may know request {request_id!r:.140}")
        return None

    async def health(self) -> Sequence[Row]:
        return await self._ask("health")

    async def memory(self, types: int) -> Sequence[Row]:
        return await self._ask("memory", types)

    async def adapters(self, engine: str) -> Sequence[Row]:
        async with self._adapters_of(engine) as adapters:
            return [msgspec.to_builtins(adapter) for adapter in (await adapters.list()).values()]

    async def load_adapter(self, engine: str, name: str, path: str, *, replace: bool) -> None:
        self.audited("adapter.load", {"engine": engine, "name": name, "path": path})
        async with self._adapters_of(engine) as adapters:
            await adapters.load(name, path, replace=replace)
            await self._look_again(engine)
        log.info("adapter %s loaded into %s from %s", name, engine, path)

    async def unload_adapter(self, engine: str, name: str) -> None:
        self.audited("adapter.unload", {"engine": engine, "name": name})
        async with self._adapters_of(engine) as adapters:
            await adapters.unload(name)
            await self._look_again(engine)
        log.info("adapter %s unloaded from %s", name, engine)

    async def _look_again(self, engine: str) -> None:
        """Has an engine's models read now, so that requests may name what it has just loaded."""
        for member in self.members:
            if member.name == engine:
                await member.look_again()

    @asynccontextmanager
    async def _adapters_of(self, engine: str) -> AsyncIterator[Adapters]:
        """An engine's adapters. Raises NotFound for an engine there is not, BadRequest for what it refuses."""
        member = next((m for m in self.members if m.name == engine), None)
        if member is None or not member.endpoint.ready:
            known = ", ".join(m.name for m in self.members if m.endpoint.ready) or "none"
            raise NotFound(f"No ready engine is called {engine!r:.100}; ready: {known}.", param="engine")
        async with httpx.AsyncClient() as client:
            try:
                yield Adapters(client, member.endpoint.url, member.api_key)
            except AdapterNotFound as error:
                raise NotFound(str(error), param="name") from None
            except AdapterError as error:
                raise BadRequest(str(error)) from None

    async def live(self) -> Sequence[Row]:
        return await self._ask("live")

    async def _ask(self, what: str, limit: int = 0) -> list[Any]:
        """The rows of all workers that answer: those of one that stands still are missed until it goes on."""
        return [row for hand in list(self.hands) if hand.up for row in await hand.ask(what, limit) or ()]

    def limits(self) -> Limits | None:
        keeper = self.stores.keeper if self.stores is not None else None
        return None if keeper is None else Limits([limit_row(use) for use in keeper.uses()], keeper.problem)

    async def costs(self, by: str, days: int) -> Costs | None:
        stores = self.stores
        if stores is None or stores.costs is None or stores.shipper is None:
            return None
        return Costs(await stores.costs.totals(by, days, wall()), stores.shipper.shipping.problem)

    async def fairness(self) -> Fairness | None:
        return self._shares.tell() if self.stores is not None and self.stores.tenants is not None else None

    async def watch_shares(self) -> None:
        """Keeps up with how tenants share the engines. Runs until it is cancelled."""
        while True:
            await asyncio.sleep(LOOK_S)
            told = await self._ask("shares")
            self._shares.take(monotonic(), msgspec.convert(told, list[Share]))

    def totals(self) -> Totals:
        requests = errors = events = read = written = 0.0
        ttft = [0.0] * (len(buckets.FIRST_TOKEN) + 1)
        itl = [0.0] * (len(buckets.TOKEN) + 1)
        process = [0.0] * PROCESS.slots
        for (name, labels), row in self._sum().rows.items():
            if name == REQUESTS.name:
                requests += row[0]
                errors += row[0] if labels[4] in ERRORS else 0
            elif name == TRAFFIC.name:
                events, read, written = events + row[EVENTS], read + row[INPUT], written + row[OUTPUT]
                ttft = [a + b for a, b in zip(ttft, row[FIRST_TOKEN:], strict=False)]
                itl = [a + b for a, b in zip(itl, row[BETWEEN:], strict=False)]
            elif name == PROCESS.name:
                process = row
        return Totals(
            requests=int(requests),
            errors=int(errors),
            events=int(events),
            input_tokens=int(read),
            output_tokens=int(written),
            in_flight=int(process[IN_FLIGHT]),
            connections=int(process[CONNECTIONS]),
            ttft=Buckets(buckets.FIRST_TOKEN, tuple(map(int, ttft))),
            itl=Buckets(buckets.TOKEN, tuple(map(int, itl))),
        )

    def about(self) -> Row:
        models = {model for member in self.members if member.endpoint.ready for model in member.endpoint.models}
        return {
            "version": penstock.__version__,
            "api": self.api_url,
            "models": sorted(models),
            "workers": sum(hand.up and not hand.draining for hand in self.hands),
            "uptime_s": monotonic() - self._started,
            "open": self.open,
            "tenants": self.stores is not None and self.stores.tenants is not None,
        }


def _signals(load: Load) -> list[float]:
    """A row of SIGNALS. What the engine does not tell is NaN, never 0."""
    told = (load.running, load.waiting, load.kv_utilisation, load.kv_capacity_tokens, load.adapter_slots)
    resident = nan if load.adapter_slots is None else float(len(load.adapters))
    return [*(nan if number is None else float(number) for number in told), resident, monotonic() - load.at]


def _load(load: Load | None) -> Row | None:
    """A reading as people read it: how old it is instead of when it was."""
    if load is None:
        return None
    row: dict[str, object] = msgspec.to_builtins(load)
    row["age_s"] = round(monotonic() - load.at, 3)
    del row["at"]
    return row


def _with_itl(row: dict[str, object]) -> Row:
    """A Record as the console shows it: the sums of its gaps as a mean."""
    count, total = int(str(row.pop("itl_count", 0))), float(str(row.pop("itl_sum_s", 0.0)))
    largest = row.pop("itl_max_s", 0.0)
    row["itl"] = {"count": count, "mean_s": total / count if count else None, "max_s": largest if count else None}
    return row
