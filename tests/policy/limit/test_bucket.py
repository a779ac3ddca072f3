"""Which counts a request belongs to, and which rules can be kept."""

import pytest

from penstock.core.errors import ConfigError
from penstock.core.limit import Level, Measure, Rule, Span
from penstock.core.tenant import Principal, Tenant
from penstock.policy.limit.bucket import MOST, check, counted

ALICE = Principal(Tenant("org", "team", "alice"), rules=(Rule("rpm", Measure.REQUESTS, 5, window_s=60),))
BOB = Principal(Tenant("org", "team", "bob"))


def ids(principal: Principal, model: str, *rules: Rule) -> list[str]:
    return [each.bucket.id for each in counted(principal, model, rules)]


@pytest.mark.parametrize(
    ("level", "shared"), [(Level.ALL, True), (Level.ORG, True), (Level.TEAM, True), (Level.KEY, False)]
)
def test_a_level_adds_up_who_belongs_to_it(level: Level, shared: bool) -> None:
    rule = Rule("tokens", Measure.TOTAL_TOKENS, 10, level, window_s=60)
    assert (ids(ALICE, "m", rule)[0] == ids(BOB, "m", rule)[0]) is shared


def test_teams_of_two_organisations_are_two_teams_whatever_their_names() -> None:
    rule = Rule("tokens", Measure.TOTAL_TOKENS, 10, Level.TEAM, window_s=60)
    assert ids(Principal(Tenant("a", "b/c")), "m", rule) != ids(Principal(Tenant("a/b", "c")), "m", rule)


def test_callers_without_a_name_share_a_count() -> None:
    rule = Rule("tokens", Measure.TOTAL_TOKENS, 10, window_s=60)
    assert ids(Principal(Tenant()), "m", rule) == ids(Principal(Tenant()), "m", rule) != ids(BOB, "m", rule)


def test_a_rule_counts_its_models_together_or_each_alone() -> None:
    together = Rule("t", Measure.REQUESTS, 10, models=("a", "b"), window_s=60)
    alone = Rule("t", Measure.REQUESTS, 10, each_model=True, window_s=60)
    assert ids(BOB, "a", together) == ids(BOB, "b", together)
    assert ids(BOB, "c", together) == []
    assert ids(BOB, "a", alone) != ids(BOB, "b", alone)


def test_a_rule_of_a_key_is_not_the_rule_of_the_config_with_its_name() -> None:
    both = ids(ALICE, "m", Rule("rpm", Measure.REQUESTS, 50, window_s=60))
    assert len(set(both)) == 2


def test_a_limit_that_changes_keeps_its_count_and_another_window_is_another() -> None:
    first = Rule("rpm", Measure.REQUESTS, 50, window_s=60)
    assert ids(BOB, "m", first) == ids(BOB, "m", Rule("rpm", Measure.REQUESTS, 70, window_s=60))
    assert ids(BOB, "m", first) != ids(BOB, "m", Rule("rpm", Measure.REQUESTS, 50, window_s=30))
    assert ids(BOB, "m", first) != ids(BOB, "m", Rule("rpm", Measure.REQUESTS, 50, span=Span.DAY))


@pytest.mark.parametrize(
    ("rule", "says"),
    [
        (Rule("", Measure.REQUESTS, 5, window_s=60), "name"),
        (Rule("a", Measure.REQUESTS, -1, window_s=60), "limit is -1"),
        (Rule("a", Measure.REQUESTS, MOST + 1, window_s=60), "limit"),
        (Rule("a", Measure.REQUESTS, 5), "exactly one"),
        (Rule("a", Measure.REQUESTS, 5, window_s=60, span=Span.DAY), "exactly one"),
        (Rule("a", Measure.REQUESTS, 5, window_s=0.5), "window_s is 0.5"),
        (Rule("a", Measure.REQUESTS, 5, window_s=float("nan")), "window_s"),
        (Rule("a", Measure.CONCURRENT_REQUESTS, 5, window_s=60), "no window"),
        (Rule("a", Measure.IN_FLIGHT_TOKENS, 5, span=Span.DAY), "no window"),
    ],
)
def test_a_rule_that_cannot_be_kept_is_named_with_its_field(rule: Rule, says: str) -> None:
    with pytest.raises(ConfigError, match=f"limit {rule.name!r}.*{says}"):
        check(rule)


def test_sound_rules_pass() -> None:
    check(Rule("a", Measure.SPEND, 0, span=Span.MONTH))
    check(Rule("a", Measure.TOTAL_TOKENS, MOST, window_s=1))
    check(Rule("a", Measure.CONCURRENT_REQUESTS, 5))
