"""What requests cost, against exact fractions."""

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.core.record import Usage
from penstock.policy.price.book import Book, EngineRate, Rate
from penstock.policy.price.cost import MILLION, Cost, most, price_of, rounded

TOKENS = st.integers(0, 2_000_000)
PRICES = st.integers(0, 10**12)
RATES = st.builds(Rate, st.just("m"), st.just(0.0), PRICES, PRICES, PRICES, PRICES, request=st.integers(0, 10**9))
USAGES = st.builds(Usage, TOKENS, TOKENS, TOKENS, TOKENS)


def test_a_request_pays_each_kind_of_token_at_its_own_price() -> None:
    book = Book((Rate("m", 0.0, 150_000_000, 15_000_000, 600_000_000, 900_000_000, request=5),))
    cost = price_of(book, "m", "e", Usage(1000, 200, 400, 50), 1.0, 0.0)
    assert cost == Cost(
        600 * 150, 400 * 15, 150 * 600, 50 * 900, 5, 0, rate=book.models.find("m", 0.0), version=book.version
    )
    assert cost.nano == 600 * 150 + 400 * 15 + 150 * 600 + 50 * 900 + 5
    assert not cost.unpriced


@given(rate=RATES, usage=USAGES)
def test_each_part_is_within_half_a_nano_unit_of_the_exact_product(rate: Rate, usage: Usage) -> None:
    cost = price_of(Book((rate,)), "m", "", usage, 1.0, 0.0)
    cached = min(usage.cached_tokens, usage.input_tokens)
    reasoning = min(usage.reasoning_tokens, usage.output_tokens)
    parts = [
        (cost.input, (usage.input_tokens - cached) * rate.input),
        (cost.cached, cached * rate.cached),
        (cost.output, (usage.output_tokens - reasoning) * rate.output),
        (cost.reasoning, reasoning * rate.reasoning),
    ]
    for part, product in parts:
        assert abs(part - Fraction(product, MILLION)) <= Fraction(1, 2)
    assert cost.nano <= most(Book((rate,)), "m", usage.input_tokens, usage.output_tokens, 0.0)


@given(rate=RATES, usage=USAGES)
def test_prices_in_steps_of_a_thousandth_are_never_rounded(rate: Rate, usage: Usage) -> None:
    whole = Rate("m", 0.0, *(p * MILLION for p in (rate.input, rate.cached, rate.output, rate.reasoning)))
    cost = price_of(Book((whole,)), "m", "", usage, 1.0, 0.0)
    cached = min(usage.cached_tokens, usage.input_tokens)
    assert cost.input == (usage.input_tokens - cached) * rate.input
    assert cost.cached == cached * rate.cached


@given(numerator=st.integers(0, 10**30), denominator=st.integers(1, 10**18))
def test_rounding_is_that_of_exact_fractions(numerator: int, denominator: int) -> None:
    assert rounded(numerator, denominator) == round(Fraction(numerator, denominator))


def test_engine_hours_are_shared_by_time() -> None:
    book = Book(engines=(EngineRate("h100-*", 0.0, 3_600_000_000_000, slots=4),))
    cost = price_of(book, "m", "h100-3", Usage(10, 10), 2.0, 0.0)
    assert cost.engine == 2 * 10**9 // 4
    assert cost.nano == cost.engine
    assert not cost.unpriced, "an engine's price is a price"
    assert price_of(book, "m", "h100-3", Usage(10, 10), 2.0, 0.0, served=False).engine == 0
    assert price_of(book, "m", "", Usage(), 2.0, 0.0).unpriced


def test_engine_hours_are_shared_by_computed_tokens() -> None:
    book = Book(engines=(EngineRate("e", 0.0, 1_000_000, tokens_per_hour=1000),))
    assert price_of(book, "m", "e", Usage(100, 50, cached_tokens=40), 9.0, 0.0).engine == 110 * 1000


def test_an_unknown_model_costs_nothing_and_says_so() -> None:
    cost = price_of(Book(), "m", "e", Usage(10, 10), 1.0, 0.0)
    assert (cost.nano, cost.unpriced) == (0, True)
    assert most(Book(), "m", 10, 10, 0.0) == 0


def test_what_was_not_served_pays_for_its_tokens_alone() -> None:
    book = Book((Rate("m", 0.0, 1_000_000, 1_000_000, 1_000_000, 1_000_000, request=7),))
    assert price_of(book, "m", "e", Usage(3, 2), 1.0, 0.0, served=False).nano == 5


@pytest.mark.parametrize(("at", "expected"), [(0.0, None), (9.9, None), (10.0, 1), (19.0, 1), (20.0, 2), (1e12, 2)])
def test_the_latest_valid_rate_holds(at: float, expected: int | None) -> None:
    book = Book((Rate("m", 10.0, 1, 1, 1, 1), Rate("m", 20.0, 2, 2, 2, 2)))
    found = book.models.find("m", at)
    assert (found and found.input) == expected


def test_the_longest_name_that_fits_wins() -> None:
    book = Book(
        (
            Rate("*", 0.0, 1, 1, 1, 1),
            Rate("llama-*", 0.0, 2, 2, 2, 2),
            Rate("llama-3*", 0.0, 3, 3, 3, 3),
            Rate("llama-3-8b", 5.0, 4, 4, 4, 4),
        )
    )
    found = [book.models.find(name, 5.0) for name in ("other", "llama-2", "llama-3-70b", "llama-3-8b")]
    assert [rate and rate.input for rate in found] == [1, 2, 3, 4]
    early = book.models.find("llama-3-8b", 4.0)
    assert early is not None
    assert early.input == 3, "a name without a valid rate falls back to a shorter one"
