"""Where requests are sent: the router, asked for one request at a time."""

import logging
from collections.abc import Callable, Collection, Mapping, Sequence

import msgspec

from penstock.config.routing import Resilience, Routing
from penstock.core.errors import NotFound, RequestError, Unavailable
from penstock.core.record import Usage
from penstock.core.request import Request
from penstock.gateway.ask import AskReader
from penstock.gateway.verdict import Verdict
from penstock.gateway.view import health_settings, route_settings
from penstock.policy.resilience.health import Health
from penstock.policy.route.facts import Ask, Decision, EngineFacts, Lease
from penstock.policy.route.router import Router
from penstock.wire.openai import read_call

log = logging.getLogger("penstock.picker")

OBJECTIVE = "x-llm-d-inference-objective"
FAIRNESS = "x-llm-d-inference-fairness-id"
SHED_WAITING = 5
"""Requests in an engine's own queue from which it takes none that may be shed."""
RETRY_AFTER_S = 1.0
"""After a refusal for load: by then every engine has been read again."""


class Overloaded(RequestError):
    """Engines would serve it, and none has room."""

    status, type, code, retry = 429, "rate_limit_error", "overloaded", True


class Pick(msgspec.Struct):
    """Where one request goes, and the claim that is held on it."""

    lease: Lease
    fallbacks: tuple[str, ...] = ()
    """Next best engines, for a proxy that retries."""

    @property
    def destination(self) -> str:
        """`ip:port`, fallbacks behind it after commas."""
        return ",".join((self.lease.engine, *self.fallbacks))


class Desk:
    """Chooses engines for requests, named by their `ip:port`."""

    def __init__(
        self,
        routing: Routing,
        resilience: Resilience,
        chance: Callable[[], float],
        *,
        objectives: Mapping[str, int] | None = None,
        fallbacks: int = 0,
    ) -> None:
        self._asks = AskReader(routing)
        self._settings = route_settings(routing)
        self._router = Router(self._settings)
        self._health = Health(health_settings(resilience))
        self._judged = self._health.version
        self._chance = chance
        self._objectives = objectives or {}
        self._fallbacks = fallbacks
        self._seen: Sequence[EngineFacts] = ()
        self._engines: Sequence[EngineFacts] = ()
        self._models: frozenset[str] = frozenset()

    def view(self, seen: Sequence[EngineFacts], models: frozenset[str], now: float) -> None:
        """Takes a whole new view: engines that are ready, and all models that were ever seen on one."""
        for engine in seen:
            self._health.appeared(engine.name, now, engine.pool)
        for name in {engine.name for engine in self._seen} - {engine.name for engine in seen}:
            self._health.left(name)
        self._seen = seen
        self._models = models
        self._asks.bytes_per_token = self._router.bytes_per_token
        self._weigh(now)

    def _weigh(self, now: float) -> None:
        """Tells the router how much of its fair share each engine may get now."""
        self._judged = self._health.version
        weights = self._health.weights([engine.name for engine in self._seen], now)
        self._engines = [
            msgspec.structs.replace(engine, weight=engine.weight * weights[engine.name]) for engine in self._seen
        ]
        self._router.update(self._engines)

    def in_flight(self, engine: str) -> int:
        """Requests sent to `engine` that have not ended."""
        return self._router.in_flight(engine)

    def read(self, path: bytes, headers: Mapping[str, bytes], body: bytes, now: float) -> Ask:
        """What a request asks for. Raises BadRequest for JSON that cannot be read."""
        request = Request(now)
        request.path, request.body, request.bytes_in = path, body, len(body)
        request.special = {name.encode("latin-1"): value for name, value in headers.items()}
        ask = self._asks.read(request, read_call(request))
        priority = self._objectives.get(headers.get(OBJECTIVE, b"").decode("latin-1"))
        return ask if priority is None else msgspec.structs.replace(ask, priority=priority)

    def choose(self, ask: Ask, subset: Collection[str] | None, fairness: str, now: float) -> Pick:
        """An engine out of `subset` (None: any), leased. Raises NotFound, Unavailable (503) or Overloaded (429)."""
        eligible = self._eligible(ask.model, subset)
        names = {engine.name for engine in eligible}
        if ask.priority < 0 and all(self._is_full(engine) for engine in eligible):
            raise Overloaded("Every engine is busy and the request may be shed.", retry_after_s=RETRY_AFTER_S)
        excluded = {engine.name for engine in self._engines} - names
        decision = self._router.choose(ask, now, self._chance(), excluded)
        if decision is None:
            raise Overloaded("Every engine has as many requests as it may.", retry_after_s=RETRY_AFTER_S)
        if log.isEnabledFor(logging.DEBUG):
            log.debug("%s fairness=%s %s", decision.reason, fairness, self._router.explain(decision))
        fallbacks = self._next_best(ask, decision.engine, excluded, now)
        return Pick(self._begin(decision.engine, ask, now, decision), fallbacks)

    def move(self, pick: Pick, served: str, now: float) -> None:
        """The proxy retried: `served` answers instead of the engine picked, which failed."""
        self.end(pick.lease, now, Verdict(False, code="not_served"), Usage())
        pick.lease = self._begin(served, pick.lease.ask, now)

    def _begin(self, engine: str, ask: Ask, now: float, decision: Decision | None = None) -> Lease:
        self._health.began(engine, now)
        if self._health.version != self._judged:
            self._weigh(now)
        return self._router.begin(engine, ask, now, decision)

    def end(self, lease: Lease, now: float, verdict: Verdict, usage: Usage) -> None:
        """The request is over; a second time does nothing."""
        if lease.ended:
            return
        self._router.end(lease, now)
        if verdict.ok:
            self._router.learn(
                lease,
                now,
                ttft_s=verdict.ttft_s,
                tpot_s=verdict.tpot_s,
                prompt_tokens=usage.input_tokens,
                cached_tokens=usage.cached_tokens,
            )
        self._health.observed(lease.engine, now, verdict.ok, verdict.code, verdict.ttft_s, lease.since)
        if self._health.version != self._judged:
            self._weigh(now)

    def _eligible(self, model: str, subset: Collection[str] | None) -> list[EngineFacts]:
        if model and self._models and model not in self._models:
            raise NotFound(f"No engine serves the model {model!r:.200}.", code="model_not_found", param="model")
        eligible = [
            engine
            for engine in self._engines
            if engine.weight > 0 and (subset is None or engine.name in subset) and (not model or model in engine.models)
        ]
        if not eligible:
            where = "" if subset is None else " of those that the proxy allows"
            raise Unavailable(f"No engine{where} is ready.", retry_after_s=RETRY_AFTER_S)
        return eligible

    def _is_full(self, engine: EngineFacts) -> bool:
        load = engine.load
        if load is None:
            return False
        return (load.waiting or 0) >= SHED_WAITING or (load.kv_utilisation or 0) >= self._settings.kv_limit

    def _next_best(self, ask: Ask, first: str, excluded: Collection[str], now: float) -> tuple[str, ...]:
        fallbacks: list[str] = []
        for _ in range(self._fallbacks):
            decision = self._router.choose(ask, now, self._chance(), {first, *fallbacks, *excluded})
            if decision is None:
                break
            fallbacks.append(decision.engine)
        return tuple(fallbacks)
