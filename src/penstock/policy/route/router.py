"""Which engine takes a request: filter, score, pick, and account of what went where.

A state machine: no clock, no randomness of its own, one owner, no locks. Times are monotonic seconds.
"""

from collections.abc import Collection, Iterable, Sequence
from math import ceil

from penstock.policy.route.approximate import ApproximateIndex
from penstock.policy.route.explain import account
from penstock.policy.route.facts import Ask, Decision, EngineFacts, Lease
from penstock.policy.route.latency import Predictor
from penstock.policy.route.policies import POLICIES
from penstock.policy.route.precise import PreciseIndex, blended
from penstock.policy.route.prefix import longest
from penstock.policy.route.regrets import Regrets
from penstock.policy.route.roster import Roster
from penstock.policy.route.scores import SCORERS
from penstock.policy.route.settings import RouteSettings
from penstock.policy.route.tokens import covered
from penstock.policy.route.view import View, members

MOST_SENT = 2048
"""Entries of chains in one telling of `sent`: another router takes them in about a millisecond."""
LEARNT = 32
"""Requests over which the weight of a typical one is taken, once there have been so many."""

Sent = tuple[str, tuple[int, ...]]
"""An engine, and the hash chain of a prompt that went there."""


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
        self._index = ApproximateIndex(settings.block_bytes, settings.bytes_per_token)
        self._precise = PreciseIndex() if settings.precise else None
        self._whole = 0
        """Engines, as bits, of whose cache everything is known by what they tell."""
        self._predictor = Predictor(settings.forgetting)
        self._regrets = Regrets()
        self._typical = settings.tokens_per_request
        """Tokens that a request weighs in a load, of late; what is configured until there was one."""
        self._seen = 0
        self._sent: list[Sent] | None = None
        self._now = float("-inf")

    def update(self, engines: Sequence[EngineFacts]) -> None:
        """Takes a whole new view. Engines that stay keep what was learnt of them; those that left are forgotten."""
        self._now = max([self._now, *(e.load.at for e in engines if e.load is not None)])
        for slot in members(self._roster.update(engines, self._now)):
            self._index.forget(1 << slot)
            self._whole &= ~(1 << slot)
            if self._precise is not None:
                self._precise.forget(1 << slot)
        self._predictor.keep({e.name for e in engines})

    def choose(
        self, ask: Ask, now: float, chance: float, excluded: Collection[str] = (), *, may_wait: bool = False
    ) -> Decision | None:
        """The engine for `ask`; None when none has room. `chance` in [0, 1) breaks ties.

        `may_wait`: it may be one that is full and has the prompt's prefix; then `Decision.full` is set.
        """
        roster = self._roster
        self._now = now
        if now >= roster.recheck:
            roster.refresh(now)
        group = roster.groups.get((ask.model, ask.pool, ask.leg)) or roster.gather(ask)
        mask = group.mask
        full = 0
        if excluded:
            mask &= ~roster.bits(excluded)
        if roster.full:
            full = mask & roster.full
            mask ^= full
            if not may_wait:
                full = 0
        if not mask:
            return None
        loads = roster.loads.copy()
        if mask == group.mask:
            slots: Sequence[int] = group.slots
            values = group.loads_of(loads)
        else:
            slots = members(mask)
            values = [loads[slot] for slot in slots]
        if ask.tokens:
            masks: Sequence[int] = self._known(ask, mask)
        else:
            masks = self._index.lookup(ask.chain) if ask.chain else ()
        turn = group.turn
        group.turn = turn + 1
        frame = roster.frame
        view = View(
            ask, chance, turn, slots, values, mask, full, loads, roster.claimed.copy(), masks, self._typical,
            excluded, group, frame, self._settings, self._index, self._predictor, self._regrets, roster.busy,
        )  # fmt: skip
        if full or len(slots) > 1:
            slot, rule, numbers = self._policy(view)
        else:
            slot, rule, numbers = slots[0], "only engine", ()
        group.picked(slot)
        matched = 0
        if masks:
            matched = view.tokens(view.depth(slot)) if view.matched is None else view.matched
        return Decision(
            roster.names[slot],
            self._settings.policy,
            rule,
            numbers,
            matched,
            len(slots),
            now,
            0.0,
            view,
            full != 0 and full >> slot & 1 != 0,
            view.charge,
        )

    def begin(self, engine: str, ask: Ask, now: float, decision: Decision | None = None) -> Lease:
        """Counts the request as in flight on `engine` and notes that its prompt will be cached there.

        `decision`: the one that chose the engine just now, which saves looking the prompt up again.
        """
        roster = self._roster
        slot = roster.slot_of.get(engine)
        standing = roster.standings[slot] if slot is not None else None
        if slot is None or standing is None:
            lease = Lease(engine, ask.prompt_tokens + ask.output_tokens, ask, now)
            roster.claims(engine).take(lease, now)
            return lease
        cached = 0
        if ask.chain:
            cached = decision.matched_tokens if decision is not None else self._cached(slot, ask)
        queue = standing.queue
        batch = standing.claims.requests + standing.others - queue
        fresh = ask.prompt_tokens - cached
        tokens = (fresh if fresh > 0 else 0) + ask.output_tokens
        adapter = ask.model if ask.model in standing.facts.adapters else ""
        if decision is not None:
            decision.seconds = now - decision.at
            if decision.charge is not None:
                self._regrets.book(*decision.charge)
        busy = roster.busy.engines + (0 if standing.claims.requests else 1)
        batch = batch if batch > 0.0 else 0.0
        lease = Lease(engine, tokens, ask, now, False, cached, queue, batch, adapter, 0.0, busy)
        standing.claims.take(lease, now)
        roster.count(slot, standing)
        if self._seen < LEARNT:
            self._seen += 1
        self._typical += (tokens - self._typical) / self._seen
        if ask.chain:
            self._index.note(1 << slot, ask.chain, standing.capacity(), now)
            if self._sent is not None:
                self._sent.append((engine, ask.chain))
            if ask.tokens and self._precise is not None:
                self._precise.expect(1 << slot, ask.tokens)
        return lease

    def _known(self, ask: Ask, wanted: int) -> list[int]:
        """Which of the `wanted` engines have how much of the prompt, by what they tell. Of those that do not tell all,
        by what was sent there as well."""
        assert self._precise is not None  # without it nobody looks token ids up
        masks = self._precise.lookup(ask.tokens)
        mute = wanted & ~self._whole
        if not mute or not ask.chain:
            return masks
        guessed = [mask & mute for mask in self._index.lookup(ask.chain)]
        return blended(masks, ask.tokens, guessed, [self._index.tokens(depth + 1) for depth in range(len(guessed))])

    def _cached(self, slot: int, ask: Ask) -> int:
        bit = 1 << slot
        if ask.tokens:
            depth, _ = longest(self._known(ask, bit), bit)
            return min(ask.prompt_tokens, covered(ask.tokens[depth - 1]) if depth else 0)
        depth, _ = longest(self._index.lookup(ask.chain), bit)
        return min(ask.prompt_tokens, int(self._index.tokens(depth)))

    def end(self, lease: Lease, now: float) -> None:
        """Returns the lease; a second time does nothing."""
        if lease.ended:
            return
        lease.ended, lease.until = True, now
        roster = self._roster
        slot = roster.slot_of.get(lease.engine)
        standing = roster.standings[slot] if slot is not None else None
        if slot is None or standing is None:
            roster.claims(lease.engine).give(lease, now)
            roster.tidy(lease.engine)
        else:
            standing.claims.give(lease, now)
            roster.count(slot, standing)
            if lease.ask.tokens and self._precise is not None:
                self._precise.settle(1 << slot, lease.ask.tokens)

    def learn(
        self,
        lease: Lease,
        now: float,
        *,
        ttft_s: float | None = None,
        tpot_s: float | None = None,
        prompt_tokens: int = 0,
        cached_tokens: int = 0,
    ) -> None:
        """Learns from a request that was answered well, any time after it ended. Counts of 0 were not reported."""
        slot = self._roster.slot_of.get(lease.engine)
        standing = self._roster.standings[slot] if slot is not None else None
        if slot is None or standing is None:
            return
        chain, bit = lease.ask.chain, 1 << slot
        self._index.learn(len(chain), prompt_tokens)
        if prompt_tokens and not self._whole & bit:
            self._index.answered(bit, chain, lease.since, cached_tokens, standing.capacity(), now)
        self._predictor.learn(lease, standing.claims, now, ttft_s, tpot_s, prompt_tokens, cached_tokens)

    @property
    def bytes_per_token(self) -> float:
        """Prompt bytes in a token, as answers tell: for the estimates of `Ask.prompt_tokens`."""
        return self._index.bytes_per_token

    def in_flight(self, engine: str) -> int:
        """Requests begun and not ended on `engine`, whether it is still in the view or not."""
        return self._roster.in_flight(engine)

    def room(self, engine: str, now: float, unsent: int = 0) -> int:
        """Requests that may begin on `engine` until it is left out for having `max_in_flight`, those of others counted
        as far as its reading is fresh. 0 for one that is not in the view, or has no such bound.

        `unsent`: so many that have begun, as far as this router knows, wait for the engine and do not count.
        """
        roster = self._roster
        if now >= roster.recheck:
            roster.refresh(now)
        slot = roster.slot_of.get(engine)
        standing = roster.standings[slot] if slot is not None else None
        if standing is None or not standing.facts.max_in_flight:
            return 0
        return max(0, ceil(standing.facts.max_in_flight - standing.requests() + unsent))

    def load(self, engine: str) -> float:
        """Effective load of `engine` in requests, as decisions see it; 0 for one that is not in the view."""
        slot = self._roster.slot_of.get(engine)
        return self._roster.loads[slot] if slot is not None else 0.0

    def share(self) -> None:
        """Others route to the same engines: what is sent where is kept for `sent` from now on."""
        self._sent = self._sent or []

    def sent(self) -> list[Sent]:
        """What went where since the last call, for others' `learned`; of more than `MOST_SENT` entries the latest."""
        if not self._sent:
            return []
        sent, self._sent = self._sent, []
        left, first = MOST_SENT, len(sent)
        while first and len(sent[first - 1][1]) <= left:
            first -= 1
            left -= len(sent[first][1])
        return sent[first:]

    def learned(self, engine: str, chain: Sequence[int]) -> None:
        """Somebody else (another worker or replica) sent a prompt with this chain to `engine`."""
        slot = self._roster.slot_of.get(engine)
        standing = self._roster.standings[slot] if slot is not None else None
        if slot is not None and standing is not None:
            self._index.note(1 << slot, chain, standing.capacity(), self._now)

    def told(self, engine: str, stored: Iterable[int], removed: Iterable[int], *, whole: bool) -> None:
        """An engine tells what came into its cache and what left it, as entries of token chains.

        `whole`: with what it has told before, this is all that is in its cache.
        """
        slot = self._roster.slot_of.get(engine)
        if slot is None or self._precise is None:
            return
        bit = 1 << slot
        self._precise.removed(bit, removed)
        self._precise.stored(bit, stored)
        self._whole = self._whole | bit if whole else self._whole & ~bit

    def cleared(self, engine: str, *, empty: bool) -> None:
        """What an engine has told before is void. `empty`: so is its cache, and what was sent there before is gone."""
        slot = self._roster.slot_of.get(engine)
        if slot is None:
            return
        if self._precise is not None:
            self._precise.cleared(1 << slot)
        if empty:
            self._index.forget(1 << slot)

    def explain(self, decision: Decision) -> dict[str, object]:
        """JSON-able account of a decision of this router: every candidate with its scores, every other with why not."""
        return account(decision)
