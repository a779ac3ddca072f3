"""A limit in one line of text, and back: `total_tokens=10000/minute`, `spend=5/day`, `concurrent_requests=8`.

    MEASURE=AMOUNT[/SPAN][,OPTION...]

SPAN is `second`, `minute` or `hour`, or a length such as `10s`, `5m`, `24h`, `7d`: a window of that length that slides.
`day` and `month` are calendar spans in UTC. What is held while a request runs takes none. An amount may end in `k`, `M`
or `G` (decimal); one of `spend` is money, with a fraction. Options: `model=NAME` (any number of times), `each_model`,
`shadow`, `fail_open`, `name=NAME`.
"""

import re
from collections.abc import Iterable
from decimal import Decimal
from typing import NoReturn

from penstock.core.errors import ConfigError
from penstock.core.limit import Level, Measure, Rule, Span

NANO = 1_000_000_000
"""Units of `spend` per unit of money."""
LARGEST = 2**53 - 1
"""Every store counts in numbers that are exact up to here."""
SPANS = {"second": 1.0, "minute": 60.0, "hour": 3600.0}
UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86_400}
LONGEST_S = 31 * 86_400
FACTORS = {"": 1, "k": 1_000, "M": 1_000_000, "G": 1_000_000_000}
AMOUNT = re.compile(r"([0-9]{1,16}(?:\.[0-9]{1,9})?)([kMG]?)", re.ASCII)
LENGTH = re.compile(r"([1-9][0-9]{0,8})([smhd])", re.ASCII)
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}", re.ASCII)
FLAGS = ("each_model", "shadow", "fail_open")
EXAMPLE = "write it like total_tokens=10000/minute, spend=5/day or concurrent_requests=8"


def parse_rule(field: str, text: str, level: Level = Level.KEY) -> Rule:
    """The Rule that `text` says. Raises ConfigError with `field`, the text and the fix."""
    head, *options = [part.strip() for part in text.split(",")]
    measure, amount, span = _head(field, head)
    window_s, calendar = _span(field, text, measure, span)
    limit = _amount(field, text, measure, amount)
    flags, models, name = _options(field, options)
    if "each_model" in flags and len(models) == 1:
        _refuse(field, text, "each_model with one model is that model's limit; leave each_model out")
    return Rule(
        name or _name(measure, span, models),
        measure,
        limit,
        level,
        window_s,
        calendar,
        models,
        each_model="each_model" in flags,
        shadow="shadow" in flags,
        fail_open="fail_open" in flags,
    )


def parse_rules(field: str, texts: Iterable[str], level: Level = Level.KEY) -> tuple[Rule, ...]:
    """Several, with names of their own. Raises ConfigError."""
    rules: dict[str, Rule] = {}
    for text in texts:
        rule = parse_rule(field, text, level)
        if rule.name in rules:
            _refuse(field, text, f"another limit here is named {rule.name!r}; give one of them another with name=")
        rules[rule.name] = rule
    return tuple(rules.values())


def rule_text(rule: Rule) -> str:
    """The line that parses to `rule`, its level aside."""
    spend = rule.measure is Measure.SPEND
    amount = f"{(Decimal(rule.limit) / NANO).normalize():f}" if spend else str(rule.limit)
    span = rule.span.value if rule.span is not None else _length_text(rule.window_s)
    parts = [f"{rule.measure}={amount}" + (f"/{span}" if span else "")]
    parts += [f"model={model}" for model in rule.models]
    parts += [flag for flag in FLAGS if getattr(rule, flag)]
    if rule.name != _name(rule.measure, span, rule.models):
        parts.append(f"name={rule.name}")
    return ",".join(parts)


def parse_length(field: str, text: str) -> float:
    """Seconds of `90s`, `30m`, `24h` or `30d`. Raises ConfigError."""
    found = LENGTH.fullmatch(text.strip())
    if found is None:
        raise ConfigError(f"{field}: {text!r:.60} is no length of time; write it like 90s, 30m, 24h or 30d")
    return float(int(found[1]) * UNITS[found[2]])


def _head(field: str, head: str) -> tuple[Measure, str, str]:
    name, sign, rest = head.partition("=")
    if not sign:
        _refuse(field, head, EXAMPLE)
    try:
        measure = Measure(name.strip())
    except ValueError:
        raise ConfigError(f"{field}: {name!r:.60} is not counted; known: {', '.join(Measure)}") from None
    amount, _, span = rest.partition("/")
    return measure, amount.strip(), span.strip()


def _span(field: str, text: str, measure: Measure, span: str) -> tuple[float, Span | None]:
    if measure.held:
        if span:
            _refuse(field, text, f"{measure} is held while requests run; leave /{span:.20} out")
        return 0.0, None
    if span in tuple(Span):
        return 0.0, Span(span)
    if span in SPANS:
        return SPANS[span], None
    if LENGTH.fullmatch(span) is None:
        _refuse(field, text, "after the / goes second, minute, hour, day, month, or a length such as 10s, 5m, 24h, 7d")
    seconds = parse_length(field, span)
    if seconds > LONGEST_S:
        _refuse(field, text, "a window slides over at most 31d; month is a calendar span")
    return seconds, None


def _amount(field: str, text: str, measure: Measure, amount: str) -> int:
    found = AMOUNT.fullmatch(amount)
    if found is None:
        _refuse(field, text, f"{amount!r:.40} is no amount; write a number such as 8, 10000, 10k or, for spend, 2.50")
    value = Decimal(found[1]) * FACTORS[found[2]] * (NANO if measure is Measure.SPEND else 1)
    if value != int(value):
        _refuse(field, text, f"{measure} counts whole units; {amount} is none")
    if value > LARGEST:
        _refuse(field, text, f"{amount} is more than can be counted; leave the limit out")
    return int(value)


def _options(field: str, options: list[str]) -> tuple[set[str], tuple[str, ...], str]:
    flags: set[str] = set()
    models: list[str] = []
    name = ""
    for option in options:
        key, sign, value = option.partition("=")
        if not sign and key in FLAGS:
            flags.add(key)
        elif key == "model" and is_pattern(value) and "*" not in value:
            models.append(value)
        elif key == "name" and NAME.fullmatch(value) and not name:
            name = value
        else:
            known = "model=NAME, each_model, shadow, fail_open, name=NAME"
            raise ConfigError(f"{field}: option {option!r:.80} is not understood; known: {known}")
    return flags, tuple(dict.fromkeys(models)), name


def is_pattern(text: str) -> bool:
    """Whether it can stand for models: a name, or its beginning with `*` behind it."""
    plain = text.removesuffix("*")
    return 0 < len(text) <= 256 and text.isprintable() and "," not in text and "*" not in plain and " " not in text


def _name(measure: Measure, span: str, models: tuple[str, ...]) -> str:
    """The name of a limit that was given none."""
    per = f"_per_{span}" if span else ""
    return f"{measure}{per}" if not models else re.sub(r"[^A-Za-z0-9._-]+", "-", f"{measure}{per}_{models[0]}")[:63]


def _length_text(seconds: float) -> str:
    if not seconds:
        return ""
    for name, length in SPANS.items():
        if seconds == length:
            return name
    unit = next(unit for unit in ("d", "h", "m", "s") if seconds % UNITS[unit] == 0)
    return f"{int(seconds) // UNITS[unit]}{unit}"


def _refuse(field: str, text: str, fix: str) -> NoReturn:
    raise ConfigError(f"{field}: {text!r:.120}: {fix}")
