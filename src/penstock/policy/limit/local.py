"""A worker's side: reserve before, settle after. No round trip while the shares last.

    answer = limits.reserve(plan, now, input_tokens, output_tokens, spend)
    Reservation   it may run; `settle` it exactly once, however it ends: a cancel is a settle with what was used
    Short         no share left: send `wants(now)`, wait until `short.answered` (bounded), try again;
                  when the time is up: reserve(..., gave_up=short.number), which is never Short
    Refused       a rule has no room

All or nothing: no bucket is charged unless all are.
"""

from collections.abc import Iterable
from math import inf
from weakref import WeakValueDictionary

import msgspec

from penstock.core.limit import Rule
from penstock.policy.limit.bucket import Counted
from penstock.policy.limit.messages import Grants, Wants
from penstock.policy.limit.refusal import Refused, Standing, Why
from penstock.policy.limit.share import Share

SCAN_S = 0.05
"""Between two looks at what is due to be reported."""
UNMETERED = -1


class Plan(msgspec.Struct, frozen=True):
    """The shares that a request of one caller for one model is counted in. Made once and kept by the caller."""

    parts: tuple[tuple[Share, int], ...]
    """With where its amount stands among the amounts of a request."""


class Reservation(msgspec.Struct):
    """What a request has reserved."""

    plan: Plan
    at: float
    amounts: tuple[int, ...]
    """By measure."""
    special: dict[Share, int] | None = None
    """Shares of which another amount is reserved; UNMETERED: none, and none will be charged."""
    shadowed: tuple[Rule, ...] = ()
    """Shadow rules that would have refused it."""
    opened: tuple[Rule, ...] = ()
    """Rules that let it pass since the store could not say."""
    settled: bool = False


class Short(msgspec.Struct, frozen=True):
    """Shares that do not suffice; more has been asked for."""

    number: int
    """Of the report that asks."""
    shares: tuple[Share, ...]

    @property
    def answered(self) -> bool:
        """Whether it is worth another try."""
        number = self.number
        return all(share.answered >= number for share in self.shares)


class LocalLimits:
    """All shares of one worker."""

    def __init__(self) -> None:
        # Shares live as long as a plan, a reservation or something to report holds them: keys come and go.
        self._shares: WeakValueDictionary[str, Share] = WeakValueDictionary()
        self._dirty: list[Share] = []
        self._asking: list[Share] = []
        self._awaiting: dict[str, Share] = {}
        self._number = 0
        self._scan_at = -inf

    def plan(self, counted: Iterable[Counted]) -> Plan:
        """Binds buckets to this worker's shares. A rule that has changed is taken over."""
        parts = []
        for each in counted:
            share = self._shares.get(each.bucket.id)
            if share is None:
                share = self._shares[each.bucket.id] = Share(each)
            share.bucket, share.rule = each.bucket, each.rule
            parts.append((share, share.kind))
        return Plan(tuple(parts))

    def reserve(
        self, plan: Plan, now: float, input_tokens: int, output_tokens: int, spend: int = 0, gave_up: int = 0
    ) -> Reservation | Short | Refused:
        """Takes from every share of the plan what the request is expected to use, or from none.

        `output_tokens` and `spend` are estimates: where they exceed a whole limit, the limit is reserved.
        `gave_up`: the number of the Short that was waited for in vain; the rules then decide without an answer.
        """
        total = input_tokens + output_tokens
        amounts = (1, input_tokens, output_tokens, total, spend, 1, total)
        for share, kind in plan.parts:
            if share.free < amounts[kind] or share.until <= now:
                return self._examine(plan, now, amounts, gave_up)
        dirty = self._dirty
        for share, kind in plan.parts:
            amount = amounts[kind]
            share.free -= amount
            share.taken += amount
            if not share.dirty:
                share.dirty = True
                dirty.append(share)
        return Reservation(plan, now, amounts)

    def settle(self, reservation: Reservation, input_tokens: int, output_tokens: int, spend: int = 0) -> None:
        """Charges what was used and gives back the rest; a second time changes nothing."""
        if reservation.settled:
            return
        reservation.settled = True
        total = input_tokens + output_tokens
        actual = (1, input_tokens, output_tokens, total, spend, 1, total)
        reserved, special, dirty = reservation.amounts, reservation.special, self._dirty
        for share, kind in reservation.plan.parts:
            amount = reserved[kind] if special is None else special.get(share, reserved[kind])
            if amount == UNMETERED or (amount == actual[kind] and not share.held):
                continue
            share.settle(amount, actual[kind], reservation.at)
            if not share.dirty:
                share.dirty = True
                dirty.append(share)

    def wants(self, now: float) -> Wants | None:
        """The report for the supervisor; None: nothing to say. Call it after a Short, and every SCAN_S."""
        due, self._asking = self._asking, []
        if now >= self._scan_at:
            self._scan_at = now + SCAN_S
            waiting = []
            for share in self._dirty:
                if now < share.reported + share.interval:
                    waiting.append(share)
                else:
                    share.dirty = False
                    if not share.need:
                        due.append(share)
            self._dirty = waiting
        if not due:
            return None
        self._number += 1
        wants = []
        for share in due:
            wants.append(share.report(self._number, now))
            self._awaiting[share.bucket.id] = share
            if share.free:
                self._mark(share)
        return Wants(self._number, tuple(wants))

    def take(self, grants: Grants, now: float) -> None:
        """Takes in what the supervisor answered; those who wait should look again."""
        for grant in grants.grants:
            share = self._awaiting.get(grant.bucket)
            if share is not None:
                share.take(grant, now)
                if grant.number >= share.asked:
                    del self._awaiting[grant.bucket]
                if share.free:
                    self._mark(share)

    def standings(self, plan: Plan, now: float) -> tuple[Standing, ...]:
        """How far each limit of a plan is used."""
        return tuple(share.standing(now) for share, _ in plan.parts)

    def _mark(self, share: Share) -> None:
        if not share.dirty:
            share.dirty = True
            self._dirty.append(share)

    def _examine(self, plan: Plan, now: float, amounts: tuple[int, ...], gave_up: int) -> Reservation | Short | Refused:
        """The way of those who cannot simply be served."""
        sure = (1, amounts[1], 0, amounts[1], 0, 1, amounts[1])
        look = _Look(now, gave_up)
        for share, kind in plan.parts:
            look.at(share, amounts[kind], sure[kind])
        if look.refused is not None:
            return look.refused
        for share, amount in (*look.lacking, *look.unsure):
            if not share.need:
                self._asking.append(share)
            share.ask(amount)
        if look.lacking:
            return Short(self._number + 1, tuple(share for share, _ in look.lacking))
        special = look.special
        for share, kind in plan.parts:
            amount = special.get(share, amounts[kind])
            if amount > 0:
                share.free -= amount
                share.taken += amount
                self._mark(share)
        return Reservation(plan, now, amounts, special or None, tuple(look.shadowed), tuple(look.opened))


class _Look:
    """What a request meets at the shares of its plan."""

    def __init__(self, now: float, gave_up: int) -> None:
        self._now = now
        self._gave_up = gave_up
        self.special: dict[Share, int] = {}
        self.refused: Refused | None = None
        """By the rule that refuses for longest."""
        self.lacking: list[tuple[Share, int]] = []
        self.unsure: list[tuple[Share, int]] = []
        """The same for shadow rules: nobody waits for them."""
        self.shadowed: list[Rule] = []
        self.opened: list[Rule] = []

    def at(self, share: Share, amount: int, sure: int) -> None:
        """One share: `amount` is estimated, of which `sure` will be used in any case."""
        now, limit, shadow = self._now, share.bucket.limit, share.rule.shadow
        if sure > limit or not limit:
            self._no(share, Why.NEVER, sure)
            return
        if amount > limit:
            amount = self.special[share] = limit
        if not amount or (share.free >= amount and now < share.until):
            return
        if share.full(amount, now) or (share.answered < self._gave_up and share.still_full(amount, now)):
            self._no(share, Why.FULL, amount)
        elif now < share.away_until or share.answered < self._gave_up:
            self._away(share, amount)
        elif shadow:
            self.unsure.append((share, amount))
        elif self._gave_up:
            self._no(share, Why.FULL, amount)
        else:
            self.lacking.append((share, amount))

    def _no(self, share: Share, why: Why, amount: int) -> None:
        if share.rule.shadow:
            self.shadowed.append(share.rule)
            return
        found = share.refused(why, amount, self._now)
        if self.refused is None or found.refill_s > self.refused.refill_s:
            self.refused = found

    def _away(self, share: Share, amount: int) -> None:
        rule = share.rule
        if rule.shadow:
            return
        if not rule.fail_open:
            self._no(share, Why.AWAY, amount)
            return
        self.opened.append(rule)
        if share.bucket.window_us:
            # A window would be full for its whole length after the outage. Budgets and what is held are told later.
            self.special[share] = UNMETERED
