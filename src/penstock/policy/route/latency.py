"""Predicted time to first token and per token after it, per engine."""

from penstock.policy.route.claims import Claims
from penstock.policy.route.facts import Ask, Lease
from penstock.policy.route.regression import Regression
from penstock.policy.route.standing import Standing

_SOON_S = 0.02
"""Beyond the first samples an engine is learnt from at most this often: requests must not pay for it."""
_FIRST = 16


class _Engine:
    __slots__ = ("last", "tpot", "ttft")

    def __init__(self, forgetting: float) -> None:
        self.ttft = Regression(5, forgetting)
        self.tpot = Regression(3, forgetting)
        self.last = float("-inf")


class Predictor:
    """One pair of regressions per engine, taught by the requests that end."""

    def __init__(self, forgetting: float) -> None:
        self._forgetting = forgetting
        self._engines: dict[str, _Engine] = {}

    def keep(self, names: set[str]) -> None:
        """Forgets engines that are not in `names`."""
        self._engines = {name: known for name, known in self._engines.items() if name in names}

    def samples(self, name: str) -> int:
        """Requests learnt from, on that engine."""
        known = self._engines.get(name)
        return known.ttft.samples if known is not None else 0

    def settled(self, standing: Standing) -> bool:
        """Whether predictions for the engine tell more than the mean of what was seen."""
        known = self._engines.get(standing.facts.name)
        return known is not None and known.ttft.settled and known.tpot.settled

    def learn(
        self,
        lease: Lease,
        claims: Claims,
        now: float,
        ttft_s: float | None,
        tpot_s: float | None,
        prompt: int,
        cached: int,
    ) -> None:
        """Takes one request's times. Counts of 0 were not reported: the lease's estimates stand in.

        `claims` of its engine tell what came and went beside it: a request that was alone when it began and soon had
        company would teach that company costs nothing.
        """
        known = self._engines.get(lease.engine)
        if known is None:
            known = self._engines[lease.engine] = _Engine(self._forgetting)
        if known.ttft.samples >= _FIRST and now - known.last < _SOON_S:
            return
        known.last = now
        prompt = prompt or lease.ask.prompt_tokens
        cached = min(prompt, cached or lease.matched_tokens)
        since, until = lease.since, lease.until if lease.ended else now
        first = min(until, since + (ttft_s or 0.0))
        if ttft_s is not None:
            batch = max(0.0, lease.batch + claims.joined(since, first))
            known.ttft.learn(_first(lease.queue, batch, prompt, cached), ttft_s)
        if tpot_s is not None:
            came = claims.at(first) - claims.at(since)
            batch = max(0.0, lease.batch + came + claims.joined(first, until))
            known.tpot.learn(_each(batch, prompt), tpot_s)

    def predict(self, standing: Standing, ask: Ask, cached: int, *, alone: bool = False) -> tuple[float, float] | None:
        """Seconds to the first token and per token after it; None when nothing is known of the engine. `alone`: were it
        idle."""
        known = self._engines.get(standing.facts.name)
        if known is None:
            return None
        queue = batch = 0.0
        if not alone:
            queue = standing.queue
            batch = max(0.0, standing.requests() - queue)
        ttft = known.ttft.predict(_first(queue, batch, ask.prompt_tokens, cached))
        if ttft is None:
            return None
        return ttft, known.tpot.predict(_each(batch, ask.prompt_tokens)) or 0.0


def _first(queue: float, batch: float, prompt: int, cached: int) -> tuple[float, ...]:
    return (1.0, queue, batch, max(0, prompt - cached) / 1024, cached / 1024)


def _each(batch: float, prompt: int) -> tuple[float, ...]:
    return (1.0, batch, prompt / 1024)
