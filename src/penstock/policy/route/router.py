"""Which engine takes a request. A state machine: no clock, no randomness of its own, one owner, no locks."""

from collections.abc import Collection, Sequence

from penstock.policy.route.facts import Ask, Decision, EngineFacts, Lease
from penstock.policy.route.settings import RouteSettings


class Router:
    """Chooses engines and keeps account of what it sent where."""

    def __init__(self, settings: RouteSettings) -> None:
        self._settings = settings
        self._engines: dict[str, EngineFacts] = {}
        self._in_flight: dict[str, int] = {}

    def update(self, engines: Sequence[EngineFacts]) -> None:
        """Takes a whole new view. Engines that stay keep what was learnt of them."""
        self._engines = {e.name: e for e in engines}

    def choose(self, ask: Ask, now: float, chance: float, excluded: Collection[str] = ()) -> Decision | None:
        """The engine for `ask`, None when none is left. `chance` in [0, 1) breaks ties."""
        left = [
            e.name
            for e in self._engines.values()
            if e.name not in excluded and e.weight > 0 and (not ask.model or ask.model in e.models)
        ]
        if not left:
            return None
        least = min(self.in_flight(name) for name in left)
        equals = [name for name in left if self.in_flight(name) == least]
        reason = f"least in flight ({least}) of {len(left)}"
        return Decision(equals[int(chance * len(equals))], self._settings.policy, reason, candidates=len(left))

    def begin(self, engine: str, ask: Ask, now: float) -> Lease:
        """Counts the request as in flight on `engine`."""
        self._in_flight[engine] = self._in_flight.get(engine, 0) + 1
        return Lease(engine, ask.prompt_tokens + ask.output_tokens, ask, now)

    def end(
        self,
        lease: Lease,
        now: float,
        *,
        ttft_s: float | None = None,
        tpot_s: float | None = None,
        prompt_tokens: int = 0,
        cached_tokens: int = 0,
        ok: bool = True,
    ) -> None:
        """Returns the lease; a second time does nothing."""
        if lease.ended:
            return
        lease.ended = True
        left = self._in_flight[lease.engine] - 1
        if left:
            self._in_flight[lease.engine] = left
        else:
            del self._in_flight[lease.engine]

    def in_flight(self, engine: str) -> int:
        """Requests begun and not ended on `engine`."""
        return self._in_flight.get(engine, 0)

    def explain(self, decision: Decision) -> dict[str, object]:
        """JSON-able account of a decision."""
        return {"engine": decision.engine, "policy": decision.policy, "reason": decision.reason}
