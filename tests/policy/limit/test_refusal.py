"""What clients are told: texts, errors, headers."""

from math import inf

import pytest

from penstock.core.errors import BudgetExceeded, ConcurrencyExceeded, LimitExceeded, LimitsUnavailable
from penstock.core.limit import Measure, Rule, Span
from penstock.policy.limit.refusal import Refused, Standing, Why, duration, headers

TOKENS = Rule("tpm", Measure.TOTAL_TOKENS, 10_000, window_s=60)
REQUESTS = Rule("rpm", Measure.REQUESTS, 100, window_s=60)
BUDGET = Rule("month", Measure.SPEND, 50_000_000_000, span=Span.MONTH)
AT_ONCE = Rule("at-once", Measure.CONCURRENT_REQUESTS, 1)


@pytest.mark.parametrize(
    ("refused", "text"),
    [
        (
            Refused(TOKENS, Why.FULL, 400, 9_900, 12.34),
            "Limit 'tpm': 10,000 tokens per 60 s, 9,900 tokens in use; this request needs 400 tokens. "
            "It fits in 13s at the latest.",
        ),
        (
            Refused(TOKENS, Why.NEVER, 12_000, 0, inf),
            "Limit 'tpm': 10,000 tokens per 60 s; this request needs 12,000 tokens, which never fits.",
        ),
        (
            Refused(BUDGET, Why.FULL, 25_000_000, 49_990_000_000, 86_400.0),
            "Limit 'month': 50 of spend per month, 49.99 of spend in use; this request needs 0.025 of spend. "
            "It fits in 24h0m0s at the latest.",
        ),
        (
            Refused(AT_ONCE, Why.FULL, 1, 1, -1.0),
            "Limit 'at-once': 1 request at once, 1 request in use; this request needs 1 request.",
        ),
        (
            Refused(TOKENS, Why.AWAY, 1, 0, -1.0),
            "Limit 'tpm': 10,000 tokens per 60 s cannot be checked, since the store of limits does not answer.",
        ),
    ],
)
def test_a_refusal_says_which_rule_how_much_and_when(refused: Refused, text: str) -> None:
    assert str(refused) == text


@pytest.mark.parametrize(
    ("refused", "kind", "retry", "wait_s"),
    [
        (Refused(TOKENS, Why.FULL, 1, 1, 12.3), LimitExceeded, None, 12.3),
        (Refused(TOKENS, Why.FULL, 1, 1, 0.01), LimitExceeded, None, 1.0),
        (Refused(TOKENS, Why.FULL, 1, 1, -1.0), LimitExceeded, None, 1.0),
        (Refused(TOKENS, Why.FULL, 1, 1, 121.0), LimitExceeded, False, 121.0),
        (Refused(TOKENS, Why.NEVER, 1, 1, inf), LimitExceeded, False, None),
        (Refused(BUDGET, Why.FULL, 1, 1, 3.0), BudgetExceeded, False, 3.0),
        (Refused(AT_ONCE, Why.FULL, 1, 1, -1.0), ConcurrencyExceeded, None, 1.0),
        (Refused(BUDGET, Why.AWAY, 1, 1, -1.0), LimitsUnavailable, None, 1.0),
    ],
)
def test_a_refusal_is_an_error_that_says_whether_to_come_again(
    refused: Refused, kind: type[Exception], retry: bool | None, wait_s: float | None
) -> None:
    error = refused.error()
    assert type(error) is kind
    assert (error.retry, error.retry_after_s) == (retry, wait_s)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0s"), (0.0121, "13ms"), (1, "1s"), (59.2, "1m0s"), (360, "6m0s"), (3600, "1h0m0s"), (90_061, "25h1m1s")],
)
def test_durations_are_written_as_openai_writes_them(seconds: float, text: str) -> None:
    assert duration(seconds) == text


def test_headers_name_the_tightest_rule_of_each_kind() -> None:
    loose = Rule("loose", Measure.INPUT_TOKENS, 1_000_000, window_s=60)
    shadow = Rule("shadow", Measure.TOTAL_TOKENS, 10, window_s=60, shadow=True)
    found = headers(
        (
            Standing(loose, 1_000, 60.0),
            Standing(TOKENS, 9_000, 45.0),
            Standing(shadow, 10, 45.0),
            Standing(REQUESTS, 0, 60.0),
            Standing(BUDGET, 5, 60.0),
            Standing(AT_ONCE, 1, 0.0),
        )
    )
    assert found == [
        ("x-ratelimit-limit-requests", "100"),
        ("x-ratelimit-remaining-requests", "100"),
        ("x-ratelimit-reset-requests", "0s"),
        ("x-ratelimit-limit-tokens", "10000"),
        ("x-ratelimit-remaining-tokens", "1000"),
        ("x-ratelimit-reset-tokens", "45s"),
    ]


def test_without_windows_there_are_no_headers() -> None:
    assert headers((Standing(BUDGET, 5, 60.0), Standing(AT_ONCE, 1, 0.0))) == []


def test_what_is_used_beyond_the_limit_leaves_nothing() -> None:
    assert Standing(TOKENS, 12_000, 1.0).remaining == 0
