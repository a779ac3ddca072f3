"""Rent or buy: when a prefix that one engine has is worth a second copy on an idle one.

To share the holder costs a little every time; to have an idle engine read the prefix costs more, once. Nobody knows how
often the prefix will be wanted. What sharing has cost is added up, and once that is as much as the reading, the prefix
is read: whatever comes, no more than twice the least is paid of what was charged (Karlin, Manasse, Rudolph and Sleator,
"Competitive snoopy caching", 1988; the ski rental problem).
"""

from collections import OrderedDict

_KEPT = 1024
"""Prefixes whose account is kept, the latest used."""


class Regrets:
    """What the company at its holder has cost each prefix so far, seconds. An account is named by the entry of the
    hash chain at which the prefix ends: a conversation that grows has a new one each turn."""

    __slots__ = ("_owed",)

    def __init__(self) -> None:
        self._owed: OrderedDict[int, float] = OrderedDict()

    def owed(self, prefix: int) -> float | None:
        """What its account stands at; None for a prefix that was never shared, or long ago."""
        return self._owed.get(prefix)

    def book(self, prefix: int, owed: float) -> None:
        """Its account stands at `owed` from now on; 0 begins it anew, as the prefix has been bought, or opens
        it where sharing cost nothing."""
        self._owed.pop(prefix, None)
        self._owed[prefix] = owed
        if len(self._owed) > _KEPT:
            self._owed.popitem(last=False)
