"""Which counts a request belongs to: rules times subjects, as a flat tuple."""

from collections.abc import Iterable
from math import isfinite

import msgspec

from penstock.core.errors import ConfigError
from penstock.core.limit import Level, Measure, Rule, Span
from penstock.core.tenant import Principal, Tenant

MOST = 2**53 - 1
"""The largest amount: every store counts exactly up to here. As spend, nine million of a currency."""
SHORTEST_S = 1.0
LONGEST_S = 31 * 86400.0


class Bucket(msgspec.Struct, frozen=True, array_like=True):
    """One count, as stores and messages know it."""

    id: str
    limit: int
    window_us: int = 0
    """Length of a sliding window in microseconds; 0 for calendar spans and for what is held."""
    span: Span | None = None

    @property
    def held(self) -> bool:
        """Whether it counts what runs, and not what was used."""
        return not self.window_us and self.span is None


class Meaning(msgspec.Struct, frozen=True):
    """What the id of a bucket says, for people."""

    own: bool
    """Of a rule of the subject's own, and not of the config."""
    level: Level
    subject: tuple[str, ...]
    """Nothing, an organisation, an organisation and a team, or a key."""
    rule: str
    measure: Measure
    model: str
    """Empty: of all models that the rule is for."""


class Counted(msgspec.Struct, frozen=True):
    """A bucket and the rule that it is of."""

    bucket: Bucket
    rule: Rule


def check(rule: Rule) -> None:
    """Raises ConfigError when a rule cannot be kept: it names the rule, the field and the fix."""

    def wrong(field: str, value: object, fix: str) -> ConfigError:
        return ConfigError(f"limit {rule.name!r}: {field} is {value!r}; {fix}")

    if not rule.name:
        raise wrong("name", rule.name, "give each rule a name, refusals show it")
    if not 0 <= rule.limit <= MOST:
        raise wrong("limit", rule.limit, f"use 0 to {MOST}")
    if rule.measure.held:
        if rule.window_s or rule.span is not None:
            raise wrong("measure", rule.measure.value, "what is held has no window; remove window_s and span")
    elif (rule.window_s == 0) == (rule.span is None):
        raise wrong("window_s", rule.window_s, "set exactly one of window_s and span")
    elif rule.span is None and not (isfinite(rule.window_s) and SHORTEST_S <= rule.window_s <= LONGEST_S):
        raise wrong("window_s", rule.window_s, f"use {SHORTEST_S:g} to {LONGEST_S:g} seconds")


def counted(principal: Principal, model: str, rules: Iterable[Rule]) -> tuple[Counted, ...]:
    """Every bucket that a request of `principal` for `model` counts in: the config's `rules`, then its own.

    Depends on nothing else, so callers keep the answer. `model` must be one that exists: with `each_model` each name
    is a count. Callers without a name on a level share the count of the empty name there, so none escapes a rule.
    """
    tenant = principal.tenant
    sources = (("config", tuple(rules)), ("own", principal.rules))
    return tuple(
        Counted(bucket_of(source, rule, tenant, model), rule)
        for source, given in sources
        for rule in given
        if not rule.models or model in rule.models
    )


def bucket_of(source: str, rule: Rule, tenant: Tenant, model: str) -> Bucket:
    """The count of a rule for one tenant. Its id is the same in every process and after every restart.

    A limit may change and the count goes on; another measure or window is another count. `source` keeps apart the
    rules of the config and those of a subject, which may have the same name.
    """
    subject = {
        Level.ALL: (),
        Level.ORG: (tenant.org,),
        Level.TEAM: (tenant.org, tenant.team),
        Level.KEY: (tenant.key,),
    }[rule.level]
    window_us = round(rule.window_s * 1e6)
    span = rule.span.value if rule.span is not None else f"{window_us}us" if window_us else "held"
    models = (model,) if rule.each_model else ()
    parts = (source, rule.level.value, *subject, rule.name, rule.measure.value, span, *models)
    return Bucket("/".join(map(_plain, parts)), rule.limit, window_us, rule.span)


def meaning_of(bucket: Bucket) -> Meaning:
    """The inverse of `bucket_of`, as far as an id tells."""
    source, level, *rest = (part.replace("%2F", "/").replace("%25", "%") for part in bucket.id.split("/"))
    names = {Level.ALL: 0, Level.ORG: 1, Level.TEAM: 2, Level.KEY: 1}[Level(level)]
    rule, measure, _, *model = rest[names:]
    return Meaning(source == "own", Level(level), tuple(rest[:names]), rule, Measure(measure), "".join(model))


def _plain(part: str) -> str:
    """Without the sign that separates parts, so that no two buckets share an id."""
    return part.replace("%", "%25").replace("/", "%2F")
