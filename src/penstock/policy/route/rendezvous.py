"""Rendezvous hashing: a key prefers the same member in every process, and only the keys of one that leaves move."""

from collections.abc import Sequence
from hashlib import blake2b

_MASK = (1 << 64) - 1
_ODD = 0x9E3779B97F4A7C15


def key_of(name: str) -> int:
    """64 bits of a name."""
    return int.from_bytes(blake2b(name.encode(), digest_size=8).digest(), "little")


def preferred(key: int, seeds: Sequence[int], slots: Sequence[int]) -> int:
    """The slot that `key` prefers among `slots`; `seeds` are the members' keys by slot."""
    ranks = [(key ^ seeds[slot]) * _ODD & _MASK for slot in slots]
    return slots[ranks.index(max(ranks))]
