"""Price documents: exact numbers, and errors that name field and fix."""

from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.core.errors import ConfigError
from penstock.policy.price.document import MOST, book_of


def first_rate(document: dict[str, Any], at: float = 2e9) -> Any:
    return book_of(document).models.find("m", at)


def test_prices_are_kept_exactly() -> None:
    rate = first_rate({"models": [{"model": "m", "input": 0.15, "output": "0.6", "cached": 0.0375, "request": 1}]})
    assert (rate.input, rate.output, rate.cached, rate.reasoning) == (150_000_000, 600_000_000, 37_500_000, 600_000_000)
    assert rate.request == 10**9


def test_cached_and_reasoning_default_to_input_and_output() -> None:
    rate = first_rate({"models": [{"model": "m", "input": 1, "output": 2}]})
    assert (rate.cached, rate.reasoning) == (rate.input, rate.output)
    assert first_rate({"models": [{"model": "m", "input": 1, "cached": 0}]}).cached == 0


@given(st.decimals(0, MOST, places=9, allow_nan=False))
def test_every_price_of_nine_decimals_is_exact(price: Decimal) -> None:
    assert first_rate({"models": [{"model": "m", "input": str(price)}]}).input == int(price * 10**9)


@given(st.integers(0, 10**15))
def test_a_number_is_read_as_it_is_written(nano: int) -> None:
    """Up to fifteen digits a float prints as it was written."""
    written = float(Decimal(nano).scaleb(-9))
    assert first_rate({"models": [{"model": "m", "input": written}]}).input == nano


def test_dates_are_utc() -> None:
    for written in ("2026-07-01", "2026-07-01T00:00:00Z", "2026-07-01T02:00:00+02:00"):
        assert first_rate({"models": [{"model": "m", "valid_from": written}]}).valid_from == 1782864000.0


def test_all_gpus_of_an_engine_are_its_hour() -> None:
    book = book_of({"engines": [{"engine": "e", "gpu_hour": 2.5, "gpus": 8, "slots": 64}]})
    rate = book.engines.find("e", 0.0)
    assert rate is not None
    assert (rate.hour, rate.slots) == (20 * 10**9, 64)


def test_the_version_tells_books_apart() -> None:
    one = book_of({"version": "q3", "models": [{"model": "m", "input": 1}]})
    same = book_of({"version": "q3", "models": [{"model": "m", "input": "1.0"}]})
    other = book_of({"version": "q3", "models": [{"model": "m", "input": 2}]})
    assert one.version == same.version != other.version
    assert one.version.startswith("q3+")


@pytest.mark.parametrize(
    ("document", "message"),
    [
        ({"models": [{"model": "m", "input": -1}]}, r"models\.0\.input: -1 is not a price"),
        ({"models": [{"model": "m", "input": "many"}]}, "'many' is no number"),
        ({"models": [{"model": "m", "input": float("nan")}]}, "not a price"),
        ({"models": [{"model": "m", "input": "1e-10"}]}, "more than 9 decimals"),
        ({"models": [{"model": "m", "input": True}]}, r"models\.0\.input"),
        ({"models": [{"model": "m", "inptu": 1}]}, r"models\.0: .*inptu"),
        ({"models": [{"model": "a*b"}]}, r"models\.0\.model"),
        ({"models": [{"model": "m", "valid_from": "soon"}]}, "no date; write 2026-07-01"),
        ({"models": [{"model": "m", "valid_from": "2026-13-01"}]}, "no date"),
        ({"models": [{"model": "m"}, {"model": "m"}]}, r"models\.1: 'm' has two prices"),
        ({"currency": "dollar"}, "currency"),
        ({"engines": [{"engine": "e", "gpu_hour": 1}]}, "`slots`"),
        ({"engines": [{"engine": "e", "gpu_hour": 1, "slots": 1, "tokens_per_hour": 1}]}, "one of the two"),
    ],
)
def test_a_wrong_document_is_refused_with_field_and_fix(document: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        book_of(document, "prices.yaml")
