"""The engines of the present view, each in a slot: a number, a bit, and a place in arrays that decisions read."""

from collections.abc import Callable, Collection, Sequence
from operator import itemgetter

import msgspec

from penstock.policy.route.claims import Busy, Claims
from penstock.policy.route.facts import Ask, EngineFacts
from penstock.policy.route.rendezvous import key_of
from penstock.policy.route.settings import RouteSettings
from penstock.policy.route.standing import NEVER, Standing

PRIOR = 4.0
"""Decisions per engine that an even share is believed for before what was decided tells otherwise."""
REMEMBERED = 16.0
"""Decisions per engine that shares are of: the older ones fade."""


class Group:
    """Engines that may serve the same kind of request, and what part of their decisions each has had of late."""

    __slots__ = ("_heat", "_more", "_step", "_total", "adapter", "loads_of", "mask", "slots", "turn")

    def __init__(self, slots: list[int], seats: int, turn: int, *, adapter: bool) -> None:
        self.slots = slots
        self.adapter = adapter
        """What they are asked for is a LoRA adapter."""
        self.mask = sum(1 << slot for slot in slots)
        self.loads_of = _loads_of(slots, seats)
        """Their loads from the array of all loads, in the order of `slots`."""
        self.turn = turn
        """Requests decided so far, for whoever goes in turn."""
        self._heat = dict.fromkeys(slots, PRIOR)
        self._total = PRIOR * len(slots)
        self._step = 1.0
        self._more = 1.0 + 1.0 / (REMEMBERED * max(1, len(slots)))

    def picked(self, slot: int) -> None:
        """A request goes to the engine. The past is not made less: what comes counts for more."""
        step = self._step = self._step * self._more
        self._heat[slot] += step
        self._total += step
        if step > 1e9:
            self._heat = {slot: heat / step for slot, heat in self._heat.items()}
            self._total /= step
            self._step = 1.0

    def share(self, slot: int) -> float:
        """Part of the last decisions that went to the engine, by an even part: 1 is fair."""
        return self._heat[slot] / self._total * len(self.slots)

    def coolest(self, slots: Sequence[int]) -> int:
        """The one of `slots` that has had least of late."""
        return min(slots, key=self._heat.__getitem__)


def _loads_of(slots: list[int], seats: int) -> Callable[[Sequence[float]], Sequence[float]]:
    if len(slots) == seats:
        return lambda loads: loads
    return itemgetter(*slots) if len(slots) > 1 else lambda loads: [loads[slot] for slot in slots]


class Frame(msgspec.Struct, frozen=True, gc=False):
    """What many decisions have in common: the engines by slot, as of the last look at their readings."""

    standings: Sequence[Standing | None]
    seeds: Sequence[int]
    """64 bits per engine name, for rendezvous hashing."""
    pressed: int
    """Engines, as bits: short of KV cache."""
    queued: int
    """With requests waiting inside."""
    light: int
    """With a weight below 1."""


class Roster:
    """Arrays by slot. A slot is free once its engine left, and taken by the next newcomer."""

    def __init__(self, settings: RouteSettings) -> None:
        self._settings = settings
        self.busy = Busy()
        self._claims: dict[str, Claims] = {}
        self.groups: dict[tuple[str, str, str], Group] = {}
        """Those asked for so far, by model, pool and leg."""
        self.recheck = NEVER
        """When to call `refresh` next: readings age."""
        self.slot_of: dict[str, int] = {}
        self.standings: list[Standing | None] = []
        """Replaced, not changed: decisions keep it, as they do `seeds`."""
        self.names: list[str] = []
        self.loads: list[float] = []
        self.claimed: list[tuple[int, int]] = []
        """Requests in flight from here, and their tokens."""
        self.seeds: list[int] = []
        self.full = 0
        """Engines, as bits: with as many requests as they may have."""
        self.frame = Frame((), (), 0, 0, 0)
        """As of the last `refresh`."""

    def update(self, engines: Sequence[EngineFacts], now: float) -> int:
        """Takes a new view; returns the bits of the engines that left."""
        names = {e.name for e in engines}
        self.standings = self.standings.copy()
        gone = 0
        for name in [n for n in self.slot_of if n not in names]:
            slot = self.slot_of.pop(name)
            self.standings[slot] = None
            gone |= 1 << slot
            self.tidy(name)
        self.full = 0
        for facts in engines:
            known = self.slot_of.get(facts.name)
            standing = self.standings[known] if known is not None else None
            if standing is not None:
                standing.renew(facts)
            else:
                self._seat(facts, gone)
        renewed = {key: self._group(key, group.turn) for key, group in self.groups.items()}
        self.groups = {key: group for key, group in renewed.items() if group.slots}
        self.refresh(now)
        return gone

    def _seat(self, facts: EngineFacts, gone: int) -> None:
        free = (s for s, held in enumerate(self.standings) if held is None and not gone >> s & 1)
        slot = next(free, len(self.standings))
        if slot == len(self.standings):
            self.standings.append(None)
            self.names.append("")
            self.loads.append(0.0)
            self.claimed.append((0, 0))
            self.seeds = [*self.seeds, 0]
        self.slot_of[facts.name] = slot
        self.names[slot] = facts.name
        self.standings[slot] = Standing(facts, self.claims(facts.name), self._settings)
        self.seeds = [*self.seeds[:slot], key_of(facts.name), *self.seeds[slot + 1 :]]

    def claims(self, name: str) -> Claims:
        """The engine's claims, present or not; dropped with `tidy`."""
        claims = self._claims.get(name)
        if claims is None:
            claims = self._claims[name] = Claims(self.busy)
        return claims

    def in_flight(self, name: str) -> int:
        claims = self._claims.get(name)
        return claims.requests if claims is not None else 0

    def tidy(self, name: str) -> None:
        """Drops the claims of an engine that left and has nothing in flight."""
        if name not in self.slot_of and not self.in_flight(name):
            self._claims.pop(name, None)

    def refresh(self, now: float) -> None:
        """Weighs every engine's reading anew."""
        recheck = NEVER
        pressed = queued = light = 0
        for slot, standing in enumerate(self.standings):
            if standing is None:
                continue
            recheck = min(recheck, standing.settle(now))
            bit = 1 << slot
            if standing.pressed():
                pressed |= bit
            if standing.queue >= 1.0:
                queued |= bit
            if standing.facts.weight < 1.0:
                light |= bit
            self.count(slot, standing)
        self.recheck = recheck
        self.frame = Frame(self.standings, self.seeds, pressed, queued, light)

    def count(self, slot: int, standing: Standing) -> None:
        """Brings the arrays up to date after a claim was taken or given.

        The load is in requests: tokens in flight, KV pressure and a lowered weight count as more of them.
        """
        claims = standing.claims
        requests, tokens = claims.requests, claims.tokens
        self.claimed[slot] = requests, tokens
        self.loads[slot] = (requests + tokens / standing.tokens_per_request + standing.extra) / standing.weight
        if standing.facts.max_in_flight:
            bit = 1 << slot
            self.full = self.full | bit if standing.full() else self.full & ~bit

    def gather(self, ask: Ask) -> Group:
        """Engines that serve what is asked, whatever their state; kept in `groups` if there are any."""
        key = (ask.model, ask.pool, ask.leg)
        found = self._group(key, 0)
        if found.slots:
            self.groups[key] = found
        return found

    def _group(self, key: tuple[str, str, str], turn: int) -> Group:
        slots = self._members(*key)
        first = self.standings[slots[0]] if slots else None
        return Group(slots, len(self.standings), turn, adapter=first is not None and key[0] in first.facts.adapters)

    def _members(self, model: str, pool: str, leg: str) -> list[int]:
        ask = Ask(model=model, pool=pool, leg=leg)
        return [
            slot
            for slot, standing in enumerate(self.standings)
            if standing is not None and unfit(standing.facts, ask) is None
        ]

    def bits(self, names: Collection[str]) -> int:
        """Bits of those engines that are present."""
        mask = 0
        for name in names:
            slot = self.slot_of.get(name)
            if slot is not None:
                mask |= 1 << slot
        return mask


def unfit(facts: EngineFacts, ask: Ask) -> str | None:
    """Why an engine may not serve `ask` at all; None when it may. Nothing here changes between two views."""
    if facts.weight <= 0:
        return "weight 0"
    if ask.model and ask.model not in facts.models:
        return f"does not serve {ask.model!r}"
    if ask.pool and facts.pool != ask.pool:
        return f"in pool {facts.pool!r}, not {ask.pool!r}"
    if facts.role == "prefill" and ask.leg != "prefill":
        return "prefills only"
    if facts.role == "decode" and ask.leg == "prefill":
        return "decodes only"
    return None
