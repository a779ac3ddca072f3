"""Which engine takes a request: filter, score, pick, and account of what went where.

A state machine: no clock, no randomness of its own, one owner, no locks. Times are monotonic seconds.
"""

from collections.abc import Collection, Sequence

from penstock.policy.route.approximate import ApproximateIndex
from penstock.policy.route.explain import Snapshot, account
from penstock.policy.route.facts import Ask, Decision, EngineFacts, Lease
from penstock.policy.route.latency import Predictor
from penstock.policy.route.policies import POLICIES
from penstock.policy.route.precise import PreciseIndex
from penstock.policy.route.prefix import PrefixIndex, longest
from penstock.policy.route.roster import Roster
from penstock.policy.route.scores import SCORERS
from penstock.policy.route.settings import RouteSettings
from penstock.policy.route.view import View, members


class Router:
    """Chooses engines, counts what is in flight there, and learns where prompts are cached and how long answers take.

    An unknown policy or scorer in the settings is a ConfigError.
    """

    def __init__(self, settings: RouteSettings) -> None:
        for scorer in settings.weights:
            SCORERS[scorer]
        self._policy = POLICIES[settings.policy]
        self._settings = settings
        self._roster = Roster(settings)
        self._index: PrefixIndex = (
            PreciseIndex(settings.block_tokens)
            if settings.precise
            else ApproximateIndex(settings.block_bytes, settings.bytes_per_token)
        )
        self._predictor = Predictor(settings.forgetting)
        self._now = float("-inf")

    def update(self, engines: Sequence[EngineFacts]) -> None:
        """Takes a whole new view. Engines that stay keep what was learnt of them; those that left are forgotten."""
        self._now = max([self._now, *(e.load.at for e in engines if e.load is not None)])
        for slot in members(self._roster.update(engines, self._now)):
            self._index.forget(1 << slot)
        self._predictor.keep({e.name for e in engines})

    def choose(self, ask: Ask, now: float, chance: float, excluded: Collection[str] = ()) -> Decision | None:
        """The engine for `ask`; None when none is left. `chance` in [0, 1) breaks ties."""
        roster = self._roster
        self._now = now
        roster.age(now)
        group = roster.group(ask)
        mask = group.mask & ~roster.full
        if excluded:
            mask &= ~roster.bits(excluded)
        if not mask:
            return None
        slots = group.slots if mask == group.mask else members(mask)
        view = self._view(ask, now, chance, mask, slots)
        view.turn = group.turn
        group.turn += 1
        if slots is group.slots:
            view.values = group.loads_of(view.loads)
        else:
            view.values = [view.loads[slot] for slot in slots]
        slot, reason = self._policy(view) if len(slots) > 1 else (slots[0], "only engine")
        depth = view.depth(slot) if view.masks else 0
        return Decision(
            view.standing(slot).facts.name,
            self._settings.policy,
            reason,
            matched_tokens=view.tokens(depth) if depth else 0,
            candidates=len(slots),
            snapshot=Snapshot(view, frozenset(excluded), roster.full, roster.own.copy(), roster.own_tokens.copy()),
        )

    def _view(self, ask: Ask, now: float, chance: float, mask: int, slots: Sequence[int]) -> View:
        roster = self._roster
        view = View()
        view.ask = ask
        view.now = now
        view.chance = chance
        view.mask = mask
        view.slots = slots
        view.loads = roster.loads.copy()
        view.seeds = roster.seeds
        view.standings = roster.standings.copy()
        view.masks = self._index.lookup(ask.chain)
        view.pressed = roster.pressed
        view.queued = roster.queued
        view.light = roster.light
        view.settings = self._settings
        view.index = self._index
        view.predictor = self._predictor
        return view

    def begin(self, engine: str, ask: Ask, now: float) -> Lease:
        """Counts the request as in flight on `engine` and notes that its prompt will be cached there."""
        roster = self._roster
        slot = roster.slot_of.get(engine)
        claims = roster.claims(engine)
        standing = roster.standings[slot] if slot is not None else None
        if slot is None or standing is None:
            lease = Lease(engine, ask.prompt_tokens + ask.output_tokens, ask, now)
            claims.take(lease, now)
            return lease
        cached = self._cached(slot, ask)
        queue = standing.queue
        lease = Lease(
            engine,
            max(0, ask.prompt_tokens - cached) + ask.output_tokens,
            ask,
            now,
            matched_tokens=cached,
            queue=queue,
            batch=max(0.0, standing.requests() - queue),
        )
        claims.take(lease, now)
        roster.count(slot)
        if ask.chain:
            self._index.note(1 << slot, ask.chain, standing.capacity())
        return lease

    def _cached(self, slot: int, ask: Ask) -> int:
        if not ask.chain:
            return 0
        depth, _ = longest(self._index.lookup(ask.chain), 1 << slot)
        return min(ask.prompt_tokens, int(self._index.tokens(depth)))

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
        """Returns the lease and learns from it; a second time does nothing. Token counts of 0 were not reported."""
        if lease.ended:
            return
        lease.ended = True
        roster = self._roster
        roster.claims(lease.engine).give(lease, now)
        slot = roster.slot_of.get(lease.engine)
        if slot is None:
            roster.tidy(lease.engine)
            return
        roster.count(slot)
        if ok:
            self._index.learn(len(lease.ask.chain), prompt_tokens)
            self._predictor.learn(lease, now, ttft_s, tpot_s, prompt_tokens, cached_tokens)

    def in_flight(self, engine: str) -> int:
        """Requests begun and not ended on `engine`, whether it is still in the view or not."""
        return self._roster.in_flight(engine)

    def load(self, engine: str) -> float:
        """Effective load of `engine` in requests, as decisions see it; 0 for one that is not in the view."""
        slot = self._roster.slot_of.get(engine)
        return self._roster.loads[slot] if slot is not None else 0.0

    def learned(self, engine: str, chain: Sequence[int]) -> None:
        """Somebody else (another worker or replica) sent a prompt with this chain to `engine`."""
        slot = self._roster.slot_of.get(engine)
        standing = self._roster.standings[slot] if slot is not None else None
        if slot is not None and standing is not None:
            self._index.note(1 << slot, chain, standing.capacity())

    def stored(self, engine: str, hashes: Sequence[int], parent: int | None) -> None:
        """KV event: blocks came into the engine's cache. Only the precise index listens."""
        slot = self._roster.slot_of.get(engine)
        if slot is not None:
            self._index.stored(1 << slot, hashes, parent)

    def removed(self, engine: str, hashes: Collection[int]) -> None:
        """KV event: blocks left the engine's cache. Only the precise index listens."""
        slot = self._roster.slot_of.get(engine)
        if slot is not None:
            self._index.removed(1 << slot, hashes)

    def cleared(self, engine: str) -> None:
        """KV event, or a restart: the engine's cache is empty."""
        slot = self._roster.slot_of.get(engine)
        if slot is not None:
            self._index.forget(1 << slot)

    def explain(self, decision: Decision) -> dict[str, object]:
        """JSON-able account of a decision of this router: every candidate with its scores, every other with why not."""
        return account(decision)
