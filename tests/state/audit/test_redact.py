"""Secrets leave text before it is written: all of them, once and for all, in bounded time."""

import json
import re
from typing import Any

import msgspec
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from penstock.config.audit import EVERY_SECRET
from penstock.core.clock import monotonic
from penstock.core.errors import ConfigError
from penstock.state.audit.content import Content
from penstock.state.audit.redact import DEPTH, Redactor, luhn

REDACTOR = Redactor(EVERY_SECRET, {})

SECRETS = {
    "email": ["ada@example.com", "first.last+tag@mail.example.co.uk", "A_B%c@x-y.io"],
    "card": ["4111111111111111", "4111 1111 1111 1111", "5500-0000-0000-0004", "340000000000009", "4222222222222"],
    "phone": ["+49 30 1234567", "+1 (555) 010-9999", "(555) 010-9999", "555-010-9999", "030 1234567", "+4915112345678"],
    "api_key": [
        "sk-" + "a1B2" * 8,
        "sk-ant-api03-" + "Zz9_" * 6,
        "sk_live_" + "0aA" * 8,
        "ghp_" + "x" * 36,
        "hf_" + "y" * 34,
        "AKIA" + "A1" * 8,
        "AIza" + "k" * 35,
        "xoxb-1234567890-abc",
        "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0In0.c2lnbmF0dXJlMTIz",
        "-----BEGIN RSA PRIVATE KEY-----\nMIIEow\nIBAAK\n-----END RSA PRIVATE KEY-----",
    ],
    "bearer": ["Bearer abc.def-123456", "authorization: bearer 0123456789"],
    "assigned": ["password: hunter2!", "API_KEY=zzzzzzzz", '"secret": "s3cr3t-value"', "token = 'abcdefgh'"],
}
EXAMPLES = [(kind, text) for kind, texts in SECRETS.items() for text in texts]

HARMLESS = [
    "2026-11-24 10:00:00",
    "1700000000000",
    "4111111111111112",
    "version 1.2.3.4",
    "user@host",
    "the tokens: 4096",
    "550e8400-e29b-41d4-a716-446655440000",
    "a bearer of news",
    "skill-based",
    "12345",
    "2 + 2 = 4",
]


@pytest.mark.parametrize(("kind", "secret"), EXAMPLES)
@pytest.mark.parametrize("around", ["{}", "so: {}, yes", "({})", "x {}\n", "\u00fc{}\u00fc"])
def test_each_kind_is_found_wherever_it_stands(kind: str, secret: str, around: str) -> None:
    text = around.format(secret)
    found = REDACTOR.text(text)
    core = max(re.findall(r"[A-Za-z0-9@.+!_-]+", secret.split()[-1]), key=len)
    assert core not in found
    assert f"[redacted:{kind}]" in Redactor([kind], {}).text(text)


@pytest.mark.parametrize("text", HARMLESS)
def test_what_is_no_secret_stays(text: str) -> None:
    assert REDACTOR.text(text) == text


def test_what_follows_a_card_does_not_hide_it() -> None:
    assert REDACTOR.text("4111 1111 1111 1111 123") == "[redacted:card] 123"
    assert REDACTOR.text("7 4111111111111111 4222222222222") == "7 [redacted:card] [redacted:card]"


PIECES = st.one_of(
    st.sampled_from([text for _, text in EXAMPLES] + HARMLESS),
    st.text(alphabet="ab01 @.-+()=:\"'[]sk_Bearer", max_size=12),
    st.text(max_size=8),
)
TEXTS = st.lists(PIECES, max_size=8).map("".join)


@given(text=TEXTS)
@example(text="[redacted:email]@example.com")
@example(text="a@b.cc@d.ee")
@settings(max_examples=500, deadline=None)
def test_nothing_is_found_in_what_was_redacted_and_doing_it_again_changes_nothing(text: str) -> None:
    once = REDACTOR.text(text)
    assert REDACTOR.secrets(once) == []
    assert REDACTOR.text(once) == once


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(10**18), 10**18)
    | st.floats(allow_nan=False, allow_infinity=False)
    | TEXTS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXTS, inner, max_size=4),
    max_leaves=12,
)


def texts(value: Any) -> list[str]:
    match value:
        case dict():
            return [*value, *(text for inner in value.values() for text in texts(inner))]
        case list():
            return [text for inner in value for text in texts(inner)]
        case bool() | None:
            return []
        case str():
            return [value]
        case _:
            return [msgspec.json.encode(value).decode()]


@given(document=JSON)
@settings(max_examples=300, deadline=None)
def test_no_text_of_a_document_keeps_a_secret(document: Any) -> None:
    once = REDACTOR.value(document)
    assert [found for text in texts(once) for found in REDACTOR.secrets(text)] == []
    assert REDACTOR.value(once) == once


@given(digits=st.text(alphabet="0123456789", min_size=12, max_size=18))
def test_one_check_digit_fits(digits: str) -> None:
    assert sum(luhn(digits + str(check)) for check in range(10)) == 1


@pytest.mark.parametrize(
    "text",
    [
        "a" * 200_000,
        "a@" * 100_000,
        "a." * 100_000,
        "a@" + "b." * 100_000,
        "1" * 200_000,
        "1 " * 100_000,
        "4 1-" * 50_000,
        "+1" * 100_000,
        "0 0" * 66_000,
        "Bearer " * 28_000,
        "bearer \t" * 25_000,
        "sk-" * 66_000,
        "eyJ" + "a" * 200_000,
        "eyJaaaaaaaa." * 16_000,
        "token=" * 33_000,
        "token = " + "x" * 200_000,
        "-----BEGIN PRIVATE KEY-----" * 7_400,
        "(555) " * 33_000,
        "[redacted:" * 20_000,
    ],
    ids=lambda text: text[:12],
)
def test_no_text_takes_long(text: str) -> None:
    """Time grows with the length alone: twice the text, about twice the time."""

    def seconds(data: str) -> float:
        spent = []
        for _ in range(3):
            begun = monotonic()
            REDACTOR.text(data)
            spent.append(monotonic() - begun)
        return min(spent)

    half, whole = seconds(text[: len(text) // 2]), seconds(text)
    assert whole < max(4 * half, 0.05)
    assert whole < 5


def test_patterns_of_ones_own() -> None:
    redactor = Redactor([], {"ticket": r"TICKET-\d+", "iban": r"iban (DE\d{20})"})
    assert redactor.text("TICKET-12 iban DE12345678901234567890 a@b.cc") == (
        "[redacted:ticket] iban [redacted:iban] a@b.cc"
    )


@pytest.mark.parametrize(
    ("pattern", "said"), [("(", "is no regular expression"), (".*", "make it stricter"), ("[a-z]+", "make it stricter")]
)
def test_a_bad_pattern_is_named(pattern: str, said: str) -> None:
    with pytest.raises(ConfigError, match=f"audit.patterns.mine.*{said}"):
        Redactor([], {"mine": pattern})
    with pytest.raises(ConfigError, match="unknown secret 'iban'; known: "):
        Redactor(["iban"], {})


# -- bodies ------------------------------------------------------------------------------------------------------------

CONTENT = Content(REDACTOR, 10_000)


def test_escapes_do_not_hide_a_secret() -> None:
    body = rb'{"messages":[{"role":"user","content":"I am ada\u0040example.com"}],"n":4111111111111111}'
    assert CONTENT.of(body) == {
        "messages": [{"role": "user", "content": "I am [redacted:email]"}],
        "n": "[redacted:card]",
    }


def test_a_named_secret_goes_whatever_it_looks_like() -> None:
    assert CONTENT.of(b'{"api_key":"x","db-password":"y","max_tokens":5,"token":""}') == {
        "api_key": "[redacted:assigned]", "db-password": "[redacted:assigned]", "max_tokens": 5, "token": "",
    }  # fmt: skip


def test_the_pieces_of_a_stream_are_put_together() -> None:
    pieces = ["mail to a", "da@exam", "ple.com", "!"]
    events = [{"choices": [{"index": 0, "delta": {"content": piece}}]} for piece in pieces]
    events.append({"choices": [{"index": 0, "delta": {"tool_calls": [{"index": 0, "function": {"arguments": "{}"}}]}}]})
    body = b"".join(b"data: " + json.dumps(event).encode() + b"\n\n" for event in events)
    body += b'data: {"choices":[],"usage":{"total_tokens":3}}\n\ndata: {"error":{"code":"x"}}\n\ndata: [DONE]\n\n'
    assert CONTENT.of(body) == {
        "texts": {"0.content": "mail to [redacted:email]!", "0.tool_calls.0": "{}"},
        "events": 7,
        "other": [{"error": {"code": "x"}}],
    }


@pytest.mark.parametrize(
    "body", [b"\x00\xff", b"{" * 100, b'{"a":', b"x" * 20_000, b"--boundary\r\n", b'data: {"a', b"[" * 50_000]
)
def test_what_is_not_read_is_kept_as_size_and_digest(body: bytes) -> None:
    found: Any = CONTENT.of(body)
    assert found["bytes"] == len(body)
    assert len(found["sha256"]) == 64


def test_no_body_is_nothing() -> None:
    assert CONTENT.of(b"") is None


def test_depth_is_bounded() -> None:
    deep: Any = "a@b.cc"
    for _ in range(DEPTH + 10):
        deep = [deep]
    shown = msgspec.json.encode(CONTENT.of(msgspec.json.encode(deep)))
    assert b"too deep" in shown
    assert b"a@b.cc" not in shown
