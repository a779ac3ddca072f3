"""What a policy sees of one decision, kept as the decision's snapshot.

Loads, prefix matches and candidates stay as they were. What the standings and the predictor say is read when asked.
"""

from collections.abc import Collection, Sequence

import msgspec

from penstock.policy.route.approximate import ApproximateIndex
from penstock.policy.route.claims import Busy
from penstock.policy.route.facts import Ask
from penstock.policy.route.latency import Predictor
from penstock.policy.route.prefix import longest
from penstock.policy.route.regrets import Regrets
from penstock.policy.route.rendezvous import preferred
from penstock.policy.route.roster import Frame, Group
from penstock.policy.route.settings import RouteSettings
from penstock.policy.route.standing import Standing
from penstock.policy.route.tokens import covered

_DENSE = 4
"""Reading every bit in turn is quicker than lifting out the set ones from one in so many."""


Pick = tuple[int, str, tuple[object, ...]]
"""The slot chosen, the rule that chose it, and the numbers for its places."""


class View(msgspec.Struct, eq=False, gc=False):
    """One request and its candidates, by slot. `loads` and the other arrays also hold slots that are no candidates."""

    ask: Ask
    chance: float
    turn: int
    slots: Sequence[int]
    """The candidates, in one order for all decisions on a view."""
    values: Sequence[float]
    """Their loads, in that order."""
    mask: int
    """The candidates as bits."""
    full: int
    """Engines, as bits, that are no candidates but for a request that waits there for its prefix."""
    loads: Sequence[float]
    claimed: Sequence[tuple[int, int]]
    """Requests that this router had in flight, and their tokens, by slot."""
    masks: Sequence[int]
    """Per entry of the prompt's chain, the engines that have all up to it."""
    typical: float
    """Tokens that a request has lately weighed in a load."""
    excluded: Collection[str]
    """Engines that the caller left out."""
    group: Group
    """All that may serve the request, with their shares of late."""
    frame: Frame
    settings: RouteSettings
    index: ApproximateIndex
    predictor: Predictor
    regrets: Regrets
    busy: Busy
    """Of all engines of this router, candidates or not; read when asked."""
    matched: int | None = None
    """Prompt tokens that the chosen engine has, where the policy has worked that out."""
    charge: tuple[int, float] | None = None
    """A prefix, and what its account stands at if the request begins where it was decided."""

    @property
    def told(self) -> Sequence[int]:
        """The chain that `masks` are of, where engines tell what they have; empty where it is the guesses' own."""
        return self.ask.tokens

    def standing(self, slot: int) -> Standing:
        """The engine in `slot`; only asked for candidates."""
        standing = self.frame.standings[slot]
        if standing is None:
            raise LookupError(f"slot {slot} is empty")
        return standing

    def least(self) -> float:
        """Load of the least loaded candidate."""
        return min(self.values)

    def bound(self, least: float) -> float:
        """Greatest load that is still near `least`. A negative priority sees half the window per step down."""
        settings = self.settings
        width = least * (settings.window_relative - 1.0)
        if width < settings.window_slack:
            width = settings.window_slack
        if self.ask.priority < 0:
            width /= 1 << min(-self.ask.priority, 16)
        return least + width

    def any_of(self, slots: Sequence[int]) -> int:
        """One of equals, by chance."""
        return slots[int(self.chance * len(slots))]

    def lightest(self, slots: Sequence[int]) -> int:
        """The least loaded of `slots`, by chance among equals."""
        return slots[0] if len(slots) == 1 else self.any_of(self._lightest(slots))

    def lightest_and_coolest(self, slots: Sequence[int]) -> int:
        """The least loaded of `slots`; among equals the one that has had least of late."""
        if len(slots) == 1:
            return slots[0]
        equals = self._lightest(slots)
        return equals[0] if len(equals) == 1 else self.group.coolest(equals)

    def _lightest(self, slots: Sequence[int]) -> Sequence[int]:
        loads = self.loads
        values = self.values if slots is self.slots else [loads[slot] for slot in slots]
        least = min(values)
        if values.count(least) == 1:
            return (slots[values.index(least)],)
        return [slot for slot, value in zip(slots, values, strict=True) if value == least]

    def rendezvous(self, key: int, slots: Sequence[int]) -> int:
        """The engine that `key` prefers among `slots`: the same in every process, whatever else comes or goes."""
        return preferred(key, self.frame.seeds, slots)

    def depth(self, slot: int) -> int:
        """Entries of the chain that the engine has."""
        return longest(self.masks, 1 << slot)[0]

    def tokens(self, depth: int) -> int:
        """Prompt tokens in `depth` entries, never more than the prompt has."""
        tokens = int(self._tokens(depth))
        return min(tokens, self.ask.prompt_tokens) if self.ask.prompt_tokens else tokens

    def share(self, slot: int) -> float:
        """Part of the prompt's chain that the engine has, 0 to 1."""
        whole = self._tokens(len(self.told or self.ask.chain))
        return self._tokens(self.depth(slot)) / whole if whole else 0.0

    def _tokens(self, depth: int) -> float:
        if self.told:
            return covered(self.told[depth - 1]) if depth else 0
        return self.index.tokens(depth)


def bits(slots: Sequence[int]) -> int:
    """Mask of `slots`."""
    return sum(map((1).__lshift__, slots))


def members(mask: int) -> list[int]:
    """Slots in `mask`, lowest first."""
    if mask.bit_count() * _DENSE > mask.bit_length():
        return [slot for slot in range(mask.bit_length()) if mask >> slot & 1]
    slots = []
    while mask:
        low = mask & -mask
        slots.append(low.bit_length() - 1)
        mask ^= low
    return slots
