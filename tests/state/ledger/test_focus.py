"""FOCUS exports: every required column, null rules, formats, and sums that agree with the ledger."""

import csv
import io
import json
import re
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.core.record import Usage as Tokens
from penstock.policy.price.book import Book, EngineRate, Rate, id_of
from penstock.policy.price.cost import price_of
from penstock.state.ledger.focus import VERSIONS, columns, rows, write
from penstock.state.ledger.store import Rates, Usage

MANDATORY = {
    "BilledCost", "BillingAccountId", "BillingAccountName", "BillingCurrency", "BillingPeriodEnd", "BillingPeriodStart",
    "ChargeCategory", "ChargeClass", "ChargeDescription", "ChargePeriodEnd", "ChargePeriodStart", "ContractedCost",
    "EffectiveCost", "InvoiceIssuerName", "ListCost", "PricingQuantity", "PricingUnit", "ServiceCategory",
    "ServiceName",
}  # fmt: skip
"""In every version. Source: the specification's requirements model, rules `CostAndUsage-D-*-M`."""
OF_VERSION = {
    "1.2": {"ProviderName", "PublisherName"},
    "1.3": {"ProviderName", "PublisherName", "ServiceProviderName", "HostProviderName"},
    "1.4": {"ServiceProviderName", "HostProviderName", "InvoiceDetailId"},
}
CONDITIONAL = {
    "ConsumedQuantity", "ConsumedUnit", "ContractedUnitPrice", "ListUnitPrice", "PricingCategory", "ResourceId",
    "ResourceName", "ResourceType", "SkuId", "SkuMeter", "SkuPriceDetails", "SkuPriceId", "SubAccountId",
    "SubAccountName", "Tags",
}  # fmt: skip
"""Required since usage is measured, unit prices are published, and tenants, engines and keys are told apart."""
NULLABLE = {
    "ChargeClass", "CommitmentDiscountStatus", "InvoiceDetailId", "InvoiceId", "ResourceId", "ResourceName",
    "ResourceType", "SubAccountId", "SubAccountName", "x_Model",
}  # fmt: skip
NUMBER = re.compile(r"\d+(\.\d*[1-9])?")
MOMENT = re.compile(r"\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}Z")

RATE = Rate("m*", 0.0, 150_000_000, 37_500_000, 600_000_000, 700_000_000, request=100_000)
BY_TIME = EngineRate("h*", 0.0, 2_500_000_000, slots=7)
BY_TOKENS = EngineRate("t*", 0.0, 2_500_000_000, tokens_per_hour=1_000_003)
RATES: Rates = {id_of(rate): rate for rate in (RATE, BY_TIME, BY_TOKENS)}

NAMES = st.sampled_from(["", "acme", 'quote " and, comma', "ä"])
COUNTS = st.integers(0, 10**12)


@st.composite
def used(draw: st.DrawFn) -> Usage:
    given_tokens, made = draw(COUNTS), draw(COUNTS)
    return Usage(
        draw(st.integers(0, 30_000)), draw(NAMES), draw(NAMES), draw(NAMES), draw(NAMES), draw(NAMES), "EUR",
        draw(st.sampled_from(["", id_of(RATE)])), draw(st.sampled_from(["", id_of(BY_TIME), id_of(BY_TOKENS)])),
        draw(st.integers(1, 10**6)), draw(st.integers(0, 10**6)), given_tokens, draw(st.integers(0, given_tokens)),
        made, draw(st.integers(0, made)), draw(COUNTS), draw(COUNTS),
    )  # fmt: skip


def exported(usage: list[Usage], version: str) -> list[dict[str, str]]:
    stream = io.StringIO()
    count = write(stream, usage, RATES, version=version, provider="Acme ML", account="default")
    found = list(csv.DictReader(io.StringIO(stream.getvalue(), newline="")))
    assert len(found) == count
    return found


@pytest.mark.parametrize("version", VERSIONS)
def test_every_required_column_is_there(version: str) -> None:
    header = columns(version)
    assert MANDATORY | OF_VERSION[version] | CONDITIONAL <= set(header)
    for other in {name for names in OF_VERSION.values() for name in names} - OF_VERSION[version]:
        assert other not in header, "what a version does not define would have to be a column of our own"
    focus = [name for name in header if not name.startswith("x_")]
    assert focus == sorted(focus)
    assert list(header[: len(focus)]) == focus, "our own columns come last"
    assert all(re.fullmatch(r"(x_)?[A-Z][A-Za-z]{0,49}", name) for name in header)
    assert len(set(header)) == len(header)


@given(usage=st.lists(used(), max_size=5), version=st.sampled_from(VERSIONS))
def test_values_keep_the_formats_and_null_rules(usage: list[Usage], version: str) -> None:
    for row in exported(usage, version):
        assert {name for name, value in row.items() if value == ""} <= NULLABLE
        for name, value in row.items():
            if name.endswith(("Cost", "Quantity", "UnitPrice")):
                assert NUMBER.fullmatch(value), (name, value)
            if name.endswith(("Start", "End")):
                assert MOMENT.fullmatch(value)
        assert row["ChargeCategory"] == "Usage"
        assert row["ChargeClass"] == row.get("InvoiceId", "") == ""
        assert row["ChargeFrequency"] == "Usage-Based"
        assert row["PricingCategory"] == "Standard"
        assert (row["ServiceCategory"], row["ServiceSubcategory"]) == ("AI and Machine Learning", "Generative AI")
        assert re.fullmatch("[A-Z]{3}", row["BillingCurrency"])
        assert (row["SubAccountId"] == "") == (row["SubAccountName"] == "")
        assert (row["ResourceId"] == "") == (row["ResourceType"] == "")
        assert row["BillingPeriodStart"] <= row["ChargePeriodStart"] < row["ChargePeriodEnd"] <= row["BillingPeriodEnd"]
        assert row["BillingPeriodStart"][8:] == row["BillingPeriodEnd"][8:] == "01T00:00:00Z"
        for name in ("Tags", "SkuPriceDetails"):
            pairs = json.loads(row[name])
            assert all(isinstance(value, str | int | bool) for value in pairs.values())
        assert all(key.startswith("x_") for key in json.loads(row["SkuPriceDetails"]))
        assert row["SkuPriceId"].startswith(row["SkuId"] + "/"), "one SKU for each SKU price"


@given(usage=used())
def test_costs_are_quantities_times_prices(usage: Usage) -> None:
    for row in exported([usage], "1.4"):
        assert row["BilledCost"] == row["EffectiveCost"] == row["ContractedCost"] == row["ListCost"]
        product = Decimal(row["PricingQuantity"]) * Decimal(row["ListUnitPrice"])
        assert Decimal(row["ListCost"]) == product
        if row["PricingUnit"] == "1000000 Tokens":
            assert Decimal(row["ConsumedQuantity"]) == Decimal(row["PricingQuantity"]) * 10**6


@given(st.lists(st.tuples(COUNTS, COUNTS), min_size=1, max_size=20))
def test_the_export_sums_to_what_the_ledger_billed(requests: list[tuple[int, int]]) -> None:
    """To the nano-unit for whole nano-units per token."""
    rate = Rate("m", 0.0, 150_000_000, 15_000_000, 600_000_000, 600_000_000, request=7)
    book = Book((rate,))
    cost = sum(price_of(book, "m", "e", Tokens(given, made), 1.0, 0.0).nano for given, made in requests)
    whole = Usage(
        20_000, "o", "t", "k", "m", "e", "USD", id_of(rate), "", len(requests), len(requests),
        sum(given for given, _ in requests), 0, sum(made for _, made in requests), 0, 0, cost,
    )  # fmt: skip
    found = rows(whole, {id_of(rate): rate}, provider="p", account="a")
    assert sum(Decimal(row["BilledCost"] or 0) for row in found) * 10**9 == cost


def test_what_has_no_price_is_exported_and_marked() -> None:
    usage = Usage(20_000, "", "", "", "new", "e", "USD", "", "", 1, 1, 10, 0, 5, 0, 0, 0)
    found = exported([usage], "1.4")
    assert [(row["SkuId"], row["BilledCost"], row["x_Unpriced"]) for row in found] == [
        ("new/input", "0", "true"),
        ("new/output", "0", "true"),
    ]
    assert found[0]["BillingAccountId"] == "default"
    assert found[0]["SkuPriceId"] == "new/input/unpriced"


def test_months_end_where_the_next_begins() -> None:
    for day, end in ((19_753, "2024-02-01"), (19_754, "2024-03-01"), (20_088, "2025-01-01")):
        usage = Usage(day, "", "", "", "m", "", "USD", id_of(RATE), "", 1, 0, 10, 0, 0, 0, 0, 0)
        (row,) = exported([usage], "1.4")
        assert row["BillingPeriodEnd"] == end + "T00:00:00Z"
