"""Predicted time to first token and per token after it, per engine."""

from penstock.policy.route.claims import Claims
from penstock.policy.route.facts import Ask, Lease
from penstock.policy.route.regression import Regression
from penstock.policy.route.standing import Standing

_SOON_S = 0.02
"""Beyond the first samples an engine is learnt from at most this often: requests must not pay for it."""
_FIRST = 16
_OF_LATE = 32
"""Requests over which the usual number of busy engines is taken."""
_CROWDS = 64
"""Answers over which the engines' views of what a busy engine costs the others are taken together."""
_CROWDING, _BELIEVED = 0.25, 8
"""What it is held to cost before any answer, as if so many had told it: to read a prompt anew cannot be taken back."""


class _Engine:
    __slots__ = ("last", "tpot", "ttft", "usual")

    def __init__(self, forgetting: float) -> None:
        self.ttft = Regression(6, forgetting)
        self.tpot = Regression(4, forgetting)
        self.last = float("-inf")
        self.usual: float | None = None
        """Engines that were busy beside its requests of late, and itself; None before the first."""

    def beyond(self, busy: float) -> float:
        """So many more engines are busy than usual. An input that hardly ever moves teaches nothing then, rather than
        sharing its part with the constant."""
        return busy - self.usual if self.usual is not None else 0.0

    def note(self, busy: float) -> None:
        """So many engines were busy beside one of its requests, and itself."""
        before = self.usual if self.usual is not None else busy
        self.usual = before + (busy - before) / min(self.ttft.samples + 2, _OF_LATE)

    def slowdown(self, output: int) -> float | None:
        """Part of a request's usual time that one more busy engine adds; None before there is a line."""
        usual = self.ttft.mean + self.tpot.mean * output
        if not (self.ttft.settled and self.tpot.settled and usual > 0.0):
            return None
        added = self.ttft.slope(_BUSY) + self.tpot.slope(_BUSY) * output
        return min(1.0, max(-1.0, added / usual))


class Predictor:
    """One pair of regressions per engine, taught by the requests that end."""

    def __init__(self, forgetting: float) -> None:
        self._forgetting = forgetting
        self._engines: dict[str, _Engine] = {}
        self._crowding = _CROWDING
        self._views = 0

    @property
    def crowding(self) -> float:
        """Part by which one more busy engine slows a request at another down, as all have it of late: about 0 where
        each has a machine to itself, 1/n where n share one that is full."""
        return max(0.0, self._crowding)

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
        others = claims.busy.changes
        busy = lease.busy + others.mean(since, until)
        known.note(busy)
        if ttft_s is not None:
            batch = max(0.0, lease.batch + claims.joined(since, first))
            beyond = known.beyond(lease.busy + others.mean(since, first))
            known.ttft.learn(_first(lease.queue, batch, prompt, cached, beyond), ttft_s)
        if tpot_s is not None:
            came = claims.at(first) - claims.at(since)
            batch = max(0.0, lease.batch + came + claims.joined(first, until))
            known.tpot.learn(_each(batch, prompt, known.beyond(busy)), tpot_s)
        told = known.slowdown(lease.ask.output_tokens)
        if told is not None:
            self._views += 1
            self._crowding += (told - self._crowding) / min(self._views + _BELIEVED, _CROWDS)

    def predict(
        self, standing: Standing, ask: Ask, cached: int, *, alone: bool = False, busy: int | None = None
    ) -> tuple[float, float] | None:
        """Seconds to the first token and per token after it; None when nothing is known of the engine. `alone`: were it
        idle. `busy`: with so many engines busy, itself among them; None for as many as usual."""
        known = self._engines.get(standing.facts.name)
        if known is None:
            return None
        queue = batch = 0.0
        if not alone:
            queue = standing.queue
            batch = max(0.0, standing.requests() - queue)
        beyond = known.beyond(busy) if busy is not None else 0.0
        ttft = known.ttft.predict(_first(queue, batch, ask.prompt_tokens, cached, beyond))
        if ttft is None:
            return None
        return ttft, known.tpot.predict(_each(batch, ask.prompt_tokens, beyond)) or 0.0


_BUSY = 1
"""Place of the busy engines among the inputs of both."""


def _first(queue: float, batch: float, prompt: int, cached: int, beyond: float) -> tuple[float, ...]:
    return (1.0, beyond, queue, batch, max(0, prompt - cached) / 1024, cached / 1024)


def _each(batch: float, prompt: int, beyond: float) -> tuple[float, ...]:
    return (1.0, beyond, batch, prompt / 1024)
