"""The price book: what a model's tokens and an engine's hours cost, and since when."""

import hashlib
from collections.abc import Iterable
from typing import Generic, TypeVar

import msgspec

ANY = "*"
"""At the end of a name: any rest."""


class Rate(msgspec.Struct, frozen=True):
    """What the requests of a model cost from a moment on. Prices of tokens are nano-units per million tokens."""

    name: str
    """A model, or the beginning of models' names and `*`."""
    valid_from: float
    """Seconds since the epoch."""
    input: int
    """Input tokens that were computed."""
    cached: int
    """Input tokens that the engine read from its prefix cache."""
    output: int
    reasoning: int
    """Output tokens spent on reasoning."""
    request: int = 0
    """Nano-units for each request that was served, whatever its length."""


class EngineRate(msgspec.Struct, frozen=True):
    """What an engine costs from a moment on, and how its requests share that. One of the last two is not 0.

    By time, a request pays `hour * duration / slots`: of an engine that `slots` requests share, it holds one.
    By tokens, it pays `hour * (input - cached + output) / tokens_per_hour`.
    """

    name: str
    """An engine, or the beginning of engines' names and `*`."""
    valid_from: float
    """Seconds since the epoch."""
    hour: int
    """Nano-units for an hour of the whole engine, all its GPUs."""
    slots: int = 0
    tokens_per_hour: int = 0


R = TypeVar("R", Rate, EngineRate)


def id_of(rate: Rate | EngineRate) -> str:
    """Names a rate by its content: two rates with one id are equal, in whatever book and store."""
    return hashlib.sha256(msgspec.json.encode(rate)).hexdigest()[:16]


class Table(Generic[R]):
    """Rates by name. The longest name that fits and has a valid rate wins; of its rates, the latest valid one."""

    def __init__(self, rates: Iterable[R]) -> None:
        named: dict[str, list[R]] = {}
        for rate in sorted(rates, key=lambda rate: -rate.valid_from):
            named.setdefault(rate.name, []).append(rate)
        self._exact: dict[str, tuple[R, ...]] = {
            name: tuple(found) for name, found in named.items() if not name.endswith(ANY)
        }
        prefixes = sorted((name for name in named if name.endswith(ANY)), key=len, reverse=True)
        self._prefixes: tuple[tuple[str, tuple[R, ...]], ...] = tuple(
            (name.removesuffix(ANY), tuple(named[name])) for name in prefixes
        )

    def find(self, name: str, at: float) -> R | None:
        """What holds for `name` at `at`, seconds since the epoch."""
        for rate in self._exact.get(name, ()):
            if rate.valid_from <= at:
                return rate
        for prefix, rates in self._prefixes:
            if name.startswith(prefix):
                for rate in rates:
                    if rate.valid_from <= at:
                        return rate
        return None


class Book:
    """The rates of one document."""

    def __init__(
        self,
        models: tuple[Rate, ...] = (),
        engines: tuple[EngineRate, ...] = (),
        *,
        currency: str = "USD",
        name: str = "",
    ) -> None:
        self.currency = currency
        """ISO 4217 code."""
        self.models = Table(models)
        self.engines = Table(engines)
        content = hashlib.sha256(msgspec.json.encode((currency, models, engines))).hexdigest()[:12]
        self.version = f"{name}+{content}" if name else content
        """Differs between books that differ in anything."""
        rates: list[Rate | EngineRate] = [*models, *engines]
        self.ids = {rate: id_of(rate) for rate in rates}
