"""LiteLLM's limits -> rules. Its rates are per minute; its budgets begin anew as its documentation says."""

from decimal import Decimal

from penstock.config.litellm.part import Part
from penstock.config.rule import LARGEST, NANO, parse_length
from penstock.core.errors import ConfigError
from penstock.core.limit import Level, Measure, Rule, Span

CALENDAR = {"24h": Span.DAY, "1d": Span.DAY, "30d": Span.MONTH, "1mo": Span.MONTH}
"""LiteLLM starts these at midnight and on the first of the month, and all others when they are due."""
HELD = {
    "max_parallel_requests": Measure.CONCURRENT_REQUESTS,
    "global_max_parallel_requests": Measure.CONCURRENT_REQUESTS,
}
PER_MINUTE = {
    "rpm": Measure.REQUESTS,
    "tpm": Measure.TOTAL_TOKENS,
    "rpm_limit": Measure.REQUESTS,
    "tpm_limit": Measure.TOTAL_TOKENS,
}


def limits_of(
    part: Part, prefix: str, level: Level, names: tuple[str, ...], models: tuple[str, ...] = ()
) -> list[Rule]:
    """A rule for each field of `names` that is there; rule names begin with `prefix`."""
    rules = []
    for name in names:
        value = part.number(name)
        if value is None:
            continue
        if value != int(value):
            part.skip(name, "expected a whole number")
        elif name in PER_MINUTE:
            rules.append(Rule(f"{prefix}{name}", PER_MINUTE[name], int(value), level, window_s=60.0, models=models))
        else:
            rules.append(Rule(f"{prefix}{name}", HELD[name], int(value), level, models=models))
    return rules


def budget_of(part: Part, prefix: str, level: Level) -> list[Rule]:
    """`max_budget` and `budget_duration` as one rule over spend."""
    amount, duration = part.number("max_budget"), part.text("budget_duration")
    if amount is None:
        if duration is not None:
            part.skip("budget_duration", "not imported: without max_budget it limits nothing")
        return []
    limit = int(Decimal(str(amount)) * NANO)
    if limit > LARGEST:
        part.skip("max_budget", "not imported: more than can be counted")
        return []
    if duration is None:
        part.skip("max_budget", "not imported: a budget that never begins anew; give it a budget_duration")
        return []
    name = f"{prefix}max_budget"
    if duration in CALENDAR:
        return [Rule(name, Measure.SPEND, limit, level, span=CALENDAR[duration])]
    try:
        window_s = parse_length("budget_duration", duration)
    except ConfigError:
        part.skip("budget_duration", f"{duration!r:.40} is not understood, so max_budget is not imported")
        return []
    part.changed("budget_duration", f"spend of the last {duration} counts, at any time; it does not begin anew")
    return [Rule(name, Measure.SPEND, limit, level, window_s=window_s)]
