"""The fleet as a worker knows it: the supervisor's last word on each engine, what is in flight from here, and how each
has done of late."""

from collections.abc import Callable, Collection, Mapping, Sequence

from penstock.config.routing import Resilience, Routing
from penstock.core.endpoint import Endpoint
from penstock.core.engine import Engine
from penstock.core.errors import BadRequest, Unavailable
from penstock.core.load import Load
from penstock.gateway.answer import no_such_model
from penstock.gateway.ask import SOLE
from penstock.gateway.caches.news import Cached
from penstock.gateway.verdict import Verdict
from penstock.policy.resilience.breaker import BreakerSettings
from penstock.policy.resilience.health import Health, HealthSettings
from penstock.policy.resilience.outlier import OutlierSettings
from penstock.policy.resilience.slow_start import SlowStartSettings
from penstock.policy.route.disaggregate import SplitSettings
from penstock.policy.route.facts import Ask, Decision, EngineFacts, Lease
from penstock.policy.route.router import Router, Sent
from penstock.policy.route.settings import RouteSettings

LONG_S = 1e6
"""Seconds; longer than any slow start."""
RETRY_AFTER_S = 2.0
"""How soon a client may try again when an engine is starting: the order of a restart."""


def route_settings(routing: Routing) -> RouteSettings:
    """The router's settings from the config."""
    return RouteSettings(
        policy=routing.policy,
        precise=routing.prefixes == "precise",
        block_bytes=routing.block_bytes,
        window_relative=routing.window,
    )


def split_settings(routing: Routing) -> SplitSettings:
    """When a request goes in two legs, from the config."""
    return SplitSettings(min_prompt_tokens=routing.split_tokens)


def health_settings(resilience: Resilience) -> HealthSettings:
    """The settings of Health from the config."""
    return HealthSettings(
        breaker=BreakerSettings(consecutive=resilience.breaker_failures, open=resilience.breaker_open),
        outlier=OutlierSettings(min_healthy=resilience.min_healthy),
        slow_start=SlowStartSettings(window=resilience.slow_start),
    )


class FleetView:
    """Chooses and leases engines. `open_engine` makes the client side for an endpoint with an address."""

    def __init__(self, open_engine: Callable[[Endpoint], Engine], routing: Routing, health: Health) -> None:
        self._open_engine = open_engine
        self.router = Router(route_settings(routing))
        self.load = self.router.load
        """Effective load of an engine in requests: (engine)."""
        self.split_settings = split_settings(routing)
        self.release = self.router.end
        """Returns a lease: (lease, now)."""
        self.health = health
        self._engines: dict[str, tuple[str, Engine]] = {}
        self._by_model: dict[str, tuple[Endpoint, ...]] = {}
        self._by_pool: dict[tuple[str, str], tuple[Endpoint, ...]] = {}
        """Of each model and pool."""
        self._ready: tuple[Endpoint, ...] = ()
        self._answering: tuple[Endpoint, ...] = ()
        """Those of the ready ones that do more than read prompts for others."""
        self.pools: Mapping[str, str] = {}
        """Pool of each ready engine."""
        self.splitting: frozenset[str] = frozenset()
        """Models that an engine reads prompts of for others of its pool. What they are changes with the view alone."""
        self._leaving: set[str] = set()
        self.alone: dict[str, int] = {}
        """Requests under way that had no choice: the router knows nothing of them. Engine -> how many."""
        self._loads: Mapping[str, Load] = {}
        self._weights: Mapping[str, float] = {}
        self.block_tokens: dict[str, int] = {}
        """Engine -> tokens of a block of its KV cache, of those that tell what is in it."""
        self.endpoints: tuple[Endpoint, ...] = ()
        self.engines: dict[str, Engine] = {}
        """The client side of every engine that has an address."""

    # -- what the supervisor tells ----------------------------------------------------------------------------------

    def update(self, endpoints: tuple[Endpoint, ...], now: float) -> None:
        """Takes the supervisor's new word over. Running requests keep the engine they have."""
        engines: dict[str, tuple[str, Engine]] = {}
        for endpoint in endpoints:
            if not endpoint.url:
                continue
            held = self._engines.get(endpoint.name)
            if held is None or held[0] != endpoint.url:
                held = (endpoint.url, self._open_engine(endpoint))
            engines[endpoint.name] = held
        kept = {id(engine) for _, engine in engines.values()}
        for _, engine in self._engines.values():
            if id(engine) not in kept:
                engine.retire()
        self._leaving = (self._leaving | self._engines.keys()) - engines.keys()
        for name in engines:
            self.alone.setdefault(name, 0)
        self._engines = engines
        self.engines = {name: engine for name, (_, engine) in engines.items()}
        self.endpoints = endpoints
        ready = tuple(e for e in endpoints if e.ready and e.name in engines)
        self._note_comings(ready, now)
        self._ready = ready
        self._answering = tuple(e for e in ready if e.role != "prefill")
        self.pools = {e.name: e.pool for e in ready}
        by_model: dict[str, list[Endpoint]] = {}
        by_pool: dict[tuple[str, str], list[Endpoint]] = {}
        for endpoint in self._answering:
            for model in endpoint.models:
                by_model.setdefault(model, []).append(endpoint)
                by_pool.setdefault((model, endpoint.pool), []).append(endpoint)
        read = {(model, e.pool) for e in ready if e.role == "prefill" for model in e.models}
        self.splitting = frozenset(model for model, _ in by_pool.keys() & read)
        self._by_model = {model: tuple(found) for model, found in by_model.items()}
        self._by_pool = {place: tuple(found) for place, found in by_pool.items()}
        self._weights = self.health.weights([e.name for e in ready], now)
        self._tell_router()

    def _note_comings(self, ready: Sequence[Endpoint], now: float) -> None:
        """An engine that joins others starts slowly; one that is gone is forgotten. The first ones seen have nobody to
        compare with, and have long been warm when a worker is new."""
        since = now if self._ready else now - LONG_S
        for endpoint in ready:
            # Those that only read prompts cannot stand in for the others of their pool, nor be compared with them.
            spare = endpoint.role == "prefill"
            group = f"{endpoint.pool} prefill" if spare else endpoint.pool
            self.health.appeared(endpoint.name, since, group, spare=spare)
        staying = {endpoint.name for endpoint in ready}
        for endpoint in self._ready:
            if endpoint.name not in staying:
                self.health.left(endpoint.name)

    def take_loads(self, loads: Mapping[str, Load]) -> None:
        """New readings of the engines' metrics."""
        self._loads = loads
        self._tell_router()

    def take_cached(self, told: Cached) -> None:
        """What an engine told of its KV cache."""
        if told.void:
            self.router.cleared(told.engine, empty=told.empty)
        self.router.told(told.engine, told.stored, told.removed, whole=told.whole)
        if told.block_tokens:
            self.block_tokens[told.engine] = told.block_tokens

    def take_sent(self, sent: Sequence[Sent]) -> None:
        """What other workers sent where."""
        for engine, chain in sent:
            self.router.learned(engine, chain)

    def weigh(self, now: float) -> None:
        """Asks how much of its fair share each engine may get now. Called after failures and a few times a second."""
        weights = self.health.weights([e.name for e in self._ready], now)
        if weights != self._weights:
            self._weights = weights
            self._tell_router()

    def _tell_router(self) -> None:
        self.router.update([self._facts(endpoint) for endpoint in self._ready])

    def _facts(self, endpoint: Endpoint) -> EngineFacts:
        load = self._loads.get(endpoint.name)
        return EngineFacts(
            endpoint.name,
            frozenset(endpoint.models),
            adapters=endpoint.adapters,
            pool=endpoint.pool,
            role=endpoint.role,
            cost=endpoint.cost,
            weight=self._weights.get(endpoint.name, 1.0),
            kv_capacity_tokens=(load.kv_capacity_tokens or 0) if load is not None else 0,
            max_in_flight=endpoint.max_in_flight,
            load=load,
        )

    @property
    def in_flight(self) -> dict[str, int]:
        """Requests under way per engine. Every count up is taken back (law 6)."""
        alone, routed = self.alone, self.router.in_flight
        return {name: alone[name] + routed(name) for name in (*self.engines, *self._leaving)}

    def let_go(self) -> None:
        """Forgets engines that are gone and have answered their last request."""
        self._leaving = {name for name in self._leaving if self.router.in_flight(name) or self.alone[name]}
        for name in self.alone.keys() - self.engines.keys() - self._leaving:
            del self.alone[name]

    # -- what requests ask ------------------------------------------------------------------------------------------

    def known_model(self, model: str) -> bool:
        return model in self._by_model

    def serving(self, model: str | None, pool: str = "") -> tuple[Endpoint, ...]:
        """Ready engines for a model, of one pool or of all. Without a model all of them, if they serve the same one.

        Raises NotFound, BadRequest or Unavailable, each with what a client can do about it.
        """
        if model is None:
            found = self._answering
            if len(self._by_model) > 1 and len(found) > 1:
                served = ", ".join(self._by_model)
                raise BadRequest(f"model: the request names none; served: {served}.", param="model")
        else:
            found = self._by_pool.get((model, pool), ()) if pool else self._by_model.get(model, ())
        if not found:
            raise self._nothing_ready(model, pool)
        return found

    def of_pool(self, model: str, pool: str) -> tuple[Endpoint, ...]:
        """Ready engines of a pool for a model; may be none."""
        return self._by_pool.get((model, pool), ())

    def _nothing_ready(self, model: str | None, pool: str) -> Exception:
        waiting = [
            each for each in self.endpoints
            if not each.ready and (model is None or not each.models or model in each.models)
            and (not pool or each.pool == pool)
        ]  # fmt: skip
        if waiting:
            states = "; ".join(f"{e.name} is {e.state}" + (f" ({e.reason})" if e.reason else "") for e in waiting)
            return Unavailable(f"No engine is ready: {states}.", retry_after_s=RETRY_AFTER_S)
        if any(model is None or model in e.models for e in self._ready):
            return Unavailable("Only engines that prefill for others are ready.", retry_after_s=RETRY_AFTER_S)
        if pool and model in self._by_model:
            return Unavailable(f"No engine of pool {pool} serves {model}.", retry_after_s=RETRY_AFTER_S)
        return no_such_model(model or "", list(self._by_model))

    def splits(self, model: str | None) -> bool:
        """Whether requests for a model may go in two legs."""
        return bool(self.splitting) if model is None else model in self.splitting

    def usable(self, engines: Sequence[Endpoint], now: float) -> Sequence[Endpoint]:
        """Those of `engines` that may be sent a request now, as far as their health goes."""
        weights, admits = self._weights, self.health.admits
        return [each for each in engines if weights.get(each.name, 1.0) > 0 and admits(each.name, now)]

    def may_use(self, engine: str, now: float) -> bool:
        """Whether `usable` would keep it."""
        return self._weights.get(engine, 1.0) > 0 and (not self.health.troubled or self.health.admits(engine, now))

    def choose(self, ask: Ask, now: float, chance: float, excluded: Collection[str]) -> Decision | None:
        """The engine for a request; None when no engine that is left may take one more now."""
        if not self.health.troubled:
            return self.router.choose(ask, now, chance, excluded)
        while (decision := self.router.choose(ask, now, chance, excluded)) is not None:
            if self.health.admits(decision.engine, now):
                return decision
            excluded = [*excluded, decision.engine]  # its probe has begun since the weights were read
        return None

    def lease(self, engine: str, ask: Ask, now: float, decision: Decision | None = None) -> Lease:
        """Counts a request as in flight on an engine, until `release`. `decision`: the one that has just chosen it."""
        if self.health.troubled and ask is not SOLE:
            self.health.began(engine, now)
        return self.router.begin(engine, ask, now, decision)

    def observed(self, lease: Lease, now: float, verdict: Verdict) -> None:
        """Remembers how the engine did."""
        if lease.ask is SOLE:
            return
        health = self.health
        before = health.version
        health.observed(lease.engine, now, verdict.ok, verdict.code, verdict.ttft_s, lease.since)
        if health.version != before:
            self.weigh(now)
