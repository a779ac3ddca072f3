"""A price document's plain values -> a Book. Numbers keep the decimals they were written with."""

import re
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from decimal import Decimal, InvalidOperation
from typing import Annotated, TypeAlias

import msgspec
from msgspec import Meta

from penstock.core.errors import ConfigError
from penstock.policy.price.book import Book, EngineRate, Rate

NANO = 10**9
DECIMALS = 9
MOST = 10**9
"""No price may be higher, in whole units: far above every real one, far below what a 64-bit sum holds."""

Price: TypeAlias = int | float | str
"""As written. Text keeps digits that a float would round."""
Name = Annotated[str, Meta(pattern=r"^[^\s*]+\*?$|^\*$", max_length=256)]
Currency = Annotated[str, Meta(pattern=r"^[A-Z]{3}$")]


class ModelPrice(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One entry under `models`. Prices of tokens are per million."""

    model: Name
    valid_from: str = ""
    input: Price = 0
    output: Price = 0
    cached: Price | None = None
    """Default: `input`."""
    reasoning: Price | None = None
    """Default: `output`."""
    request: Price = 0


class EnginePrice(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One entry under `engines`. Exactly one of `slots` and `tokens_per_hour` is given."""

    engine: Name
    gpu_hour: Price
    valid_from: str = ""
    gpus: Annotated[int, Meta(ge=1, le=65_536)] = 1
    slots: Annotated[int, Meta(ge=0, le=1_000_000)] = 0
    tokens_per_hour: Annotated[int, Meta(ge=0, le=10**15)] = 0


class Document(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The whole file."""

    currency: Currency = "USD"
    version: Annotated[str, Meta(max_length=64)] = ""
    models: tuple[ModelPrice, ...] = ()
    engines: tuple[EnginePrice, ...] = ()


def book_of(document: Mapping[str, object], source: str = "prices") -> Book:
    """The book of a document. Raises ConfigError that names `source`, field, value and fix."""
    try:
        written = msgspec.convert(document, Document)
    except msgspec.ValidationError as error:
        message, _, where = str(error).partition(" - at `$")
        field = where.rstrip("`").replace("[", ".").replace("]", "").lstrip(".")
        raise ConfigError(f"{source}: {field or 'document'}: {message.replace('`', '')}") from None
    models = tuple(_rate(price, f"{source}: models.{index}") for index, price in enumerate(written.models))
    engines = tuple(_engine_rate(price, f"{source}: engines.{index}") for index, price in enumerate(written.engines))
    _distinct(models, f"{source}: models")
    _distinct(engines, f"{source}: engines")
    return Book(models, engines, currency=written.currency, name=written.version)


def _rate(price: ModelPrice, where: str) -> Rate:
    given = _nano(price.input, f"{where}.input")
    made = _nano(price.output, f"{where}.output")
    return Rate(
        price.model,
        _moment(price.valid_from, f"{where}.valid_from"),
        given,
        given if price.cached is None else _nano(price.cached, f"{where}.cached"),
        made,
        made if price.reasoning is None else _nano(price.reasoning, f"{where}.reasoning"),
        _nano(price.request, f"{where}.request"),
    )


def _engine_rate(price: EnginePrice, where: str) -> EngineRate:
    if bool(price.slots) == bool(price.tokens_per_hour):
        raise ConfigError(
            f"{where}: give `slots` (its requests share it by time) or `tokens_per_hour` (by tokens), one of the two"
        )
    return EngineRate(
        price.engine,
        _moment(price.valid_from, f"{where}.valid_from"),
        _nano(price.gpu_hour, f"{where}.gpu_hour") * price.gpus,
        price.slots,
        price.tokens_per_hour,
    )


def _distinct(rates: Sequence[Rate | EngineRate], where: str) -> None:
    seen: set[tuple[str, float]] = set()
    for index, rate in enumerate(rates):
        if (rate.name, rate.valid_from) in seen:
            raise ConfigError(f"{where}.{index}: {rate.name!r} has two prices from the same moment on; remove one")
        seen.add((rate.name, rate.valid_from))


def _nano(written: Price, where: str) -> int:
    """Whole nano-units of a price in whole units."""
    try:
        value = Decimal(str(written))
    except InvalidOperation:
        raise ConfigError(f"{where}: {written!r} is no number; write one such as 0.15") from None
    if isinstance(written, bool) or not value.is_finite() or not 0 <= value <= MOST:
        raise ConfigError(f"{where}: {written!r} is not a price from 0 to {MOST}")
    nano = value.scaleb(DECIMALS)
    if nano != nano.to_integral_value():
        raise ConfigError(f"{where}: {written!r} has more than {DECIMALS} decimals; round it")
    return int(nano)


def _moment(written: str, where: str) -> float:
    """Seconds since the epoch; no text: since ever."""
    if not written:
        return 0.0
    if not re.match(r"\d{4}-\d{2}-\d{2}", written):
        raise ConfigError(f"{where}: {written!r} is no date; write 2026-07-01 or 2026-07-01T12:00:00Z")
    try:
        moment = datetime.fromisoformat(written)
    except ValueError:
        raise ConfigError(f"{where}: {written!r} is no date; write 2026-07-01 or 2026-07-01T12:00:00Z") from None
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
