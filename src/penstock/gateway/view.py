"""The fleet as a worker knows it: the supervisor's last word on each engine, and what is in flight from here."""

from collections.abc import Callable, Collection

from penstock.core.endpoint import Endpoint
from penstock.core.engine import Engine
from penstock.core.errors import BadRequest, Unavailable
from penstock.gateway.answer import no_such_model
from penstock.policy.route.in_turn import choose

RETRY_AFTER_S = 2.0
"""How soon a client may try again when an engine is starting: the order of a restart."""


class FleetView:
    """Chooses and leases engines. `open_engine` makes the client side for an endpoint with an address."""

    def __init__(self, open_engine: Callable[[Endpoint], Engine]) -> None:
        self._open_engine = open_engine
        self._engines: dict[str, tuple[str, Engine]] = {}
        self._by_model: dict[str, tuple[Endpoint, ...]] = {}
        self._ready: tuple[Endpoint, ...] = ()
        self._turn = 0
        self.endpoints: tuple[Endpoint, ...] = ()
        self.in_flight: dict[str, int] = {}
        """Requests under way per engine. Every count up is taken back (law 6)."""
        self.engines: dict[str, Engine] = {}
        """The client side of every engine that has an address."""

    def update(self, endpoints: tuple[Endpoint, ...]) -> None:
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
        self._engines = engines
        self.engines = {name: engine for name, (_, engine) in engines.items()}
        for name in engines:
            self.in_flight.setdefault(name, 0)
        self.endpoints = endpoints
        self._ready = tuple(e for e in endpoints if e.ready and e.name in engines)
        by_model: dict[str, list[Endpoint]] = {}
        for endpoint in self._ready:
            for model in endpoint.models:
                by_model.setdefault(model, []).append(endpoint)
        self._by_model = {model: tuple(found) for model, found in by_model.items()}

    def known_model(self, model: str) -> bool:
        return model in self._by_model

    def choose(self, model: str | None, excluded: Collection[str]) -> str:
        """Name of the engine a request for `model` goes to. Without a model, any ready engine if they all serve one
        and the same.

        Raises NotFound, BadRequest or Unavailable, each with what a client can do about it.
        """
        if model is None:
            candidates = self._ready
            if len(self._by_model) > 1 and len(self._ready) > 1:
                served = ", ".join(self._by_model)
                raise BadRequest(f"model: the request names none; served: {served}.", param="model")
        else:
            candidates = self._by_model.get(model, ())
        if not candidates:
            raise self._nothing_ready(model)
        if len(candidates) == 1 and not excluded:
            return candidates[0].name
        self._turn += 1
        choice = choose(candidates, self.in_flight, excluded, self._turn)
        if choice is None:
            reason = "Every engine that serves this model has failed this request."
            raise Unavailable(reason, retry_after_s=RETRY_AFTER_S)
        return choice.endpoint.name

    def _nothing_ready(self, model: str | None) -> Exception:
        waiting = [e for e in self.endpoints if not e.ready and (model is None or not e.models or model in e.models)]
        if waiting:
            states = "; ".join(f"{e.name} is {e.state}" + (f" ({e.reason})" if e.reason else "") for e in waiting)
            return Unavailable(f"No engine is ready: {states}.", retry_after_s=RETRY_AFTER_S)
        return no_such_model(model or "", list(self._by_model))

    def has_other(self, model: str | None, excluded: Collection[str]) -> bool:
        """Whether an engine outside `excluded` could take the request."""
        candidates = self._ready if model is None else self._by_model.get(model, ())
        return any(e.name not in excluded for e in candidates)
