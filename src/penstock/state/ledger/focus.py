"""Charges as a Cost and Usage dataset of FOCUS, the FinOps Open Cost and Usage Specification (focus.finops.org).

Versions 1.2 (May 2025), 1.3 (December 2025) and 1.4 (June 2026). 1.3 added ServiceProviderName and HostProviderName
and deprecated ProviderName and PublisherName, which 1.4 removed; 1.4 added InvoiceDetailId. One row is what one key
used in one day of one meter (a kind of token, requests, engine time) of one model on one engine at one price.

Costs are the products of the quantities and unit prices beside them, exactly. The ledger rounds each request to
nano-units, so its sum may differ by at most half a nano-unit per request and meter, and not at all for prices in steps
of 0.001 per million tokens.
"""

import csv
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime, timedelta
from decimal import Context, Decimal
from typing import IO, NamedTuple, TypeAlias

import msgspec

from penstock.policy.price.book import EngineRate, Rate, id_of
from penstock.state.ledger.store import Rates, Usage

Row: TypeAlias = dict[str, str | None]

COMMON = (
    "BilledCost", "BillingAccountId", "BillingAccountName", "BillingCurrency", "BillingPeriodEnd",
    "BillingPeriodStart", "ChargeCategory", "ChargeClass", "ChargeDescription", "ChargeFrequency", "ChargePeriodEnd",
    "ChargePeriodStart", "CommitmentDiscountStatus", "ConsumedQuantity", "ConsumedUnit", "ContractedCost",
    "ContractedUnitPrice", "EffectiveCost", "InvoiceId", "InvoiceIssuerName", "ListCost", "ListUnitPrice",
    "PricingCategory", "PricingCurrency", "PricingCurrencyContractedUnitPrice", "PricingCurrencyEffectiveCost",
    "PricingCurrencyListUnitPrice", "PricingQuantity", "PricingUnit", "ResourceId", "ResourceName", "ResourceType",
    "ServiceCategory", "ServiceName", "ServiceSubcategory", "SkuId", "SkuMeter", "SkuPriceDetails", "SkuPriceId",
    "SubAccountId", "SubAccountName", "Tags",
)  # fmt: skip
CUSTOM = ("x_Model", "x_Requests", "x_Unpriced")
ADDED = {
    "1.2": ("ProviderName", "PublisherName"),
    "1.3": ("HostProviderName", "ProviderName", "PublisherName", "ServiceProviderName"),
    "1.4": ("HostProviderName", "InvoiceDetailId", "ServiceProviderName"),
}
"""What each version has on top of the common columns."""
VERSIONS = tuple(ADDED)

EXACT = Context(prec=60)
MILLION = Decimal(10**6)
NANO = Decimal(10**9)
HOUR_US = Decimal(3_600_000_000)
QUANTUM = Decimal(1).scaleb(-12)
"""Engine time is a share of hours; its quantity is rounded to this."""


class Meter(NamedTuple):
    """One kind of use, priced."""

    name: str
    """Part of SKU ids."""
    title: str
    consumed: Decimal
    consumed_unit: str
    quantity: Decimal
    unit: str
    price: Decimal
    """Of one `unit`."""
    rate: Rate | EngineRate | None


def columns(version: str) -> tuple[str, ...]:
    """The header of a version: FOCUS's columns in alphabetical order, then our own."""
    return (*sorted((*COMMON, *ADDED[version])), *CUSTOM)


def write(stream: IO[str], usage: Iterable[Usage], rates: Rates, *, version: str, provider: str, account: str) -> int:
    """Writes a CSV file; returns the number of rows. A null is an empty field."""
    header = columns(version)
    writer = csv.writer(stream, lineterminator="\r\n")
    writer.writerow(header)
    count = 0
    for used in usage:
        for row in rows(used, rates, provider=provider, account=account):
            writer.writerow([row[name] for name in header])
            count += 1
    return count


def rows(used: Usage, rates: Rates, *, provider: str, account: str) -> Iterator[Row]:
    """The rows of what was used: one for each meter that counted anything. `account` stands for a tenant without an
    organisation."""
    for meter in meters(used, rates):
        yield _row(used, meter, provider, account)


def meters(used: Usage, rates: Rates) -> Iterator[Meter]:
    """What was used, by meter."""
    rate, engine_rate = rates.get(used.rate), rates.get(used.engine_rate)
    prices = rate if isinstance(rate, Rate) else None
    computed, answered = used.input - used.cached, used.output - used.reasoning
    for name, title, tokens, price in (
        ("input", "Input Tokens", computed, prices.input if prices else 0),
        ("cached", "Cached Input Tokens", used.cached, prices.cached if prices else 0),
        ("output", "Output Tokens", answered, prices.output if prices else 0),
        ("reasoning", "Reasoning Tokens", used.reasoning, prices.reasoning if prices else 0),
    ):
        if tokens:
            count = Decimal(tokens)
            yield Meter(name, title, count, "Tokens", count / MILLION, "1000000 Tokens", price / NANO, prices)
    if prices is not None and prices.request and used.served:
        count = Decimal(used.served)
        yield Meter("request", "Requests", count, "Requests", count, "Requests", prices.request / NANO, prices)
    if isinstance(engine_rate, EngineRate):
        yield from _engine_time(used, engine_rate, computed + used.output)


def _engine_time(used: Usage, rate: EngineRate, tokens: int) -> Iterator[Meter]:
    hour = rate.hour / NANO
    if rate.tokens_per_hour and tokens:
        quantity = (Decimal(tokens) / rate.tokens_per_hour).quantize(QUANTUM)
        yield Meter("engine", "Engine Time", Decimal(tokens), "Tokens", quantity, "Hours", hour, rate)
    elif rate.slots and used.served_us:
        time = used.served_us / HOUR_US
        quantity = (time / rate.slots).quantize(QUANTUM)
        yield Meter("engine", "Engine Time", time.quantize(QUANTUM), "Hours", quantity, "Hours", hour, rate)


def _row(used: Usage, meter: Meter, provider: str, account: str) -> Row:
    begin = datetime.fromtimestamp(used.day * 86_400, UTC)
    month = begin.replace(day=1)
    cost = _number(EXACT.multiply(meter.quantity, meter.price))
    price = _number(meter.price)
    org = used.org or account
    sku = f"{meter.rate.name if meter.rate else used.model}/{meter.name}"
    tags = {name: value for name, value in (("engine", used.engine), ("key", used.key), ("model", used.model)) if value}
    return {
        "BilledCost": cost,
        "BillingAccountId": org,
        "BillingAccountName": org,
        "BillingCurrency": used.currency,
        "BillingPeriodEnd": _moment((month + timedelta(days=31)).replace(day=1)),
        "BillingPeriodStart": _moment(month),
        "ChargeCategory": "Usage",
        "ChargeClass": None,
        "ChargeDescription": f"{meter.title} of {used.model or 'no model'}",
        "ChargeFrequency": "Usage-Based",
        "ChargePeriodEnd": _moment(begin + timedelta(days=1)),
        "ChargePeriodStart": _moment(begin),
        "CommitmentDiscountStatus": None,
        "ConsumedQuantity": _number(meter.consumed),
        "ConsumedUnit": meter.consumed_unit,
        "ContractedCost": cost,
        "ContractedUnitPrice": price,
        "EffectiveCost": cost,
        "HostProviderName": provider,
        "InvoiceDetailId": None,
        "InvoiceId": None,
        "InvoiceIssuerName": provider,
        "ListCost": cost,
        "ListUnitPrice": price,
        "PricingCategory": "Standard",
        "PricingCurrency": used.currency,
        "PricingCurrencyContractedUnitPrice": price,
        "PricingCurrencyEffectiveCost": cost,
        "PricingCurrencyListUnitPrice": price,
        "PricingQuantity": _number(meter.quantity),
        "PricingUnit": meter.unit,
        "ProviderName": provider,
        "PublisherName": provider,
        "ResourceId": used.engine or None,
        "ResourceName": None,
        "ResourceType": "Inference engine" if used.engine else None,
        "ServiceCategory": "AI and Machine Learning",
        "ServiceName": "LLM inference",
        "ServiceProviderName": provider,
        "ServiceSubcategory": "Generative AI",
        "SkuId": sku,
        "SkuMeter": meter.title,
        "SkuPriceDetails": msgspec.json.encode({"x_Meter": meter.name}).decode(),
        "SkuPriceId": f"{sku}/{id_of(meter.rate) if meter.rate else 'unpriced'}",
        "SubAccountId": used.team or None,
        "SubAccountName": used.team or None,
        "Tags": msgspec.json.encode(tags).decode(),
        "x_Model": used.model or None,
        "x_Requests": str(used.requests),
        "x_Unpriced": "false" if meter.rate else "true",
    }


def _moment(moment: datetime) -> str:
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")


def _number(value: Decimal) -> str:
    """Plain digits, without an exponent or zeros that say nothing."""
    written = f"{value:f}"
    return written.rstrip("0").rstrip(".") if "." in written else written
