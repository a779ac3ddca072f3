"""Which queues compete: those that share an engine, directly or through others."""

from collections.abc import Hashable, Iterable, Mapping
from typing import TypeVar

Key = TypeVar("Key", bound=Hashable)


def rivals(lines: Mapping[Key, Iterable[str]]) -> list[list[Key]]:
    """Groups of lines, given the engines of each; both in the order of `lines`. Two lines are in one group when a chain
    of shared engines leads from one to the other."""
    root: dict[Key, Key] = {}

    def find(key: Key) -> Key:
        while root[key] != key:
            root[key] = root[root[key]]
            key = root[key]
        return key

    first: dict[str, Key] = {}
    for key, engines in lines.items():
        root[key] = key
        for engine in engines:
            root[find(key)] = find(first.setdefault(engine, key))
    groups: dict[Key, list[Key]] = {}
    for key in lines:
        groups.setdefault(find(key), []).append(key)
    return list(groups.values())
