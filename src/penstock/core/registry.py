"""Names to things, for every pluggable leaf (sources, engines, later scorers, guards, stores)."""

from collections.abc import Iterator
from typing import Generic, TypeVar

from penstock.core.errors import ConfigError

T = TypeVar("T")


class Registry(Generic[T]):
    """A table built once at composition time. An unknown name is a ConfigError that lists the known ones."""

    def __init__(self, noun: str, entries: dict[str, T]) -> None:
        self._noun = noun
        self._entries = dict(entries)

    def __getitem__(self, name: str) -> T:
        try:
            return self._entries[name]
        except KeyError:
            known = ", ".join(sorted(self._entries))
            raise ConfigError(f"unknown {self._noun} {name!r}; known: {known}") from None

    def __iter__(self) -> Iterator[str]:
        return iter(self._entries)
