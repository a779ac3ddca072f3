"""Limits in one line of text."""

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.config.rule import LARGEST, parse_length, parse_rule, parse_rules, rule_text
from penstock.core.errors import ConfigError
from penstock.core.limit import Level, Measure, Rule, Span

USED = [measure for measure in Measure if not measure.held]


@pytest.mark.parametrize(
    ("text", "rule"),
    [
        ("requests=60/minute", Rule("requests_per_minute", Measure.REQUESTS, 60, window_s=60.0)),
        (" total_tokens = 10k / hour ", Rule("total_tokens_per_hour", Measure.TOTAL_TOKENS, 10_000, window_s=3600.0)),
        ("input_tokens=1.5M/7d", Rule("input_tokens_per_7d", Measure.INPUT_TOKENS, 1_500_000, window_s=604_800.0)),
        ("requests=5/day", Rule("requests_per_day", Measure.REQUESTS, 5, span=Span.DAY)),
        ("spend=2.5/month", Rule("spend_per_month", Measure.SPEND, 2_500_000_000, span=Span.MONTH)),
        ("spend=0.000000001/24h", Rule("spend_per_24h", Measure.SPEND, 1, window_s=86_400.0)),
        ("concurrent_requests=8", Rule("concurrent_requests", Measure.CONCURRENT_REQUESTS, 8)),
        ("in_flight_tokens=0", Rule("in_flight_tokens", Measure.IN_FLIGHT_TOKENS, 0)),
        (
            "requests=1/second,model=a/b,model=c,shadow,fail_open,name=burst",
            Rule("burst", Measure.REQUESTS, 1, window_s=1.0, models=("a/b", "c"), shadow=True, fail_open=True),
        ),
        (
            "requests=1/second,each_model",
            Rule("requests_per_second", Measure.REQUESTS, 1, window_s=1.0, each_model=True),
        ),
    ],
)
def test_what_a_line_says(text: str, rule: Rule) -> None:
    assert parse_rule("limit", text) == rule


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ("", "write it like total_tokens=10000/minute"),
        ("requests", "write it like"),
        ("tokens=5/minute", "'tokens' is not counted; known: requests, input_tokens"),
        ("requests=/minute", "'' is no amount"),
        ("requests=-1/minute", "no amount"),
        ("requests=1e9/minute", "no amount"),
        ("requests=٣/minute", "no amount"),
        ("requests=1.5/minute", "whole units"),
        ("spend=0.0000000001/day", "no amount"),
        ("requests=99999999999G/minute", "more than can be counted"),
        ("requests=5", "after the / goes"),
        ("requests=5/week", "after the / goes"),
        ("requests=5/0s", "after the / goes"),
        ("requests=5/32d", "at most 31d"),
        ("concurrent_requests=5/minute", "leave /minute out"),
        ("requests=5/minute,model=", "option 'model=' is not understood"),
        ("requests=5/minute,model=a*", "not understood"),
        ("requests=5/minute,colour=red", "known: model=NAME"),
        ("requests=5/minute,name=a b", "not understood"),
        ("requests=5/minute,name=a,name=b", "not understood"),
        ("requests=5/minute,model=a,each_model", "leave each_model out"),
        ("requests=5/minute,", "option ''"),
    ],
)
def test_a_bad_line_names_field_value_and_fix(text: str, part: str) -> None:
    with pytest.raises(ConfigError, match=r"^--limit: ") as refused:
        parse_rule("--limit", text)
    assert part in str(refused.value)


def test_names_are_unique_among_several() -> None:
    rules = parse_rules("limits", ("requests=1/second", "requests=9/minute"), Level.TEAM)
    assert [rule.level for rule in rules] == [Level.TEAM, Level.TEAM]
    with pytest.raises(ConfigError, match="another limit here is named 'requests_per_minute'"):
        parse_rules("limits", ("requests=1/minute", "requests=9/minute"))


models = st.lists(st.from_regex(r"[a-z/.:-]{1,9}", fullmatch=True), max_size=2, unique=True).map(tuple)


@st.composite
def rules(draw: st.DrawFn) -> Rule:
    measure = draw(st.sampled_from(Measure))
    window_s, span = 0.0, None
    if not measure.held:
        window_s, span = draw(
            st.sampled_from([*((float(s), None) for s in (1, 7, 60, 90, 3600, 86_400)), *((0.0, s) for s in Span)])
        )
    named = draw(models)
    return Rule(
        draw(st.from_regex(r"[A-Za-z0-9][A-Za-z0-9._-]{0,20}", fullmatch=True)),
        measure,
        draw(st.integers(0, LARGEST)),
        window_s=window_s,
        span=span,
        models=named,
        each_model=len(named) != 1 and draw(st.booleans()),
        shadow=draw(st.booleans()),
        fail_open=draw(st.booleans()),
    )


@given(rules())
def test_a_rule_and_its_line_say_the_same(rule: Rule) -> None:
    assert parse_rule("limit", rule_text(rule)) == rule


@given(st.text(max_size=40))
def test_any_text_is_a_rule_or_refused(text: str) -> None:
    for line in (text, f"requests=5/minute,{text}", f"spend={text}"):
        with suppress(ConfigError):
            rule = parse_rule("limit", line)
            assert parse_rule("limit", rule_text(rule)) == rule


@pytest.mark.parametrize(("text", "seconds"), [("90s", 90), ("30m", 1800), (" 24h ", 86_400), ("30d", 2_592_000)])
def test_lengths(text: str, seconds: float) -> None:
    assert parse_length("--overlap", text) == seconds


@pytest.mark.parametrize("text", ["", "5", "0s", "-1s", "1.5h", "1w", "٣s"])
def test_no_lengths(text: str) -> None:
    with pytest.raises(ConfigError, match="no length of time"):
        parse_length("--overlap", text)
