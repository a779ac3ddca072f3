"""Token counts are found where the engine reports them, and never where a user or a model only talks of them."""

import json
import time
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from penstock.core.record import Usage
from penstock.wire.openai import count_content, find_usage, merge

TALK = st.text('\\"usage:{}prompt_tokens 0123,\n', max_size=40) | st.sampled_from(
    ['"usage":{"prompt_tokens":9}', '\\"usage\\": {"prompt_tokens":9}', '\\\\"usage":{"prompt_tokens":9}', "usage", '"']
)
"""What a user may have written, to be echoed."""
DOCUMENT = st.recursive(
    TALK | st.none() | st.booleans() | st.integers(),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(TALK.filter(lambda key: key != "usage"), inner, max_size=4)
    ),
    max_leaves=12,
)
COUNT = st.integers(0, 10**9)


@given(document=DOCUMENT, spaced=st.booleans())
@example(document={"a": "\\", "b": '"usage":{"prompt_tokens":9}'}, spaced=False)
def test_talk_of_usage_is_no_usage(document: Any, spaced: bool) -> None:
    text = json.dumps(document, separators=(", ", ": ") if spaced else (",", ":"))
    assert find_usage(text.encode()) is None


@given(document=DOCUMENT, behind=DOCUMENT, read=COUNT, written=COUNT, cached=COUNT | st.none(), spaced=st.booleans())
def test_the_report_is_found_among_talk(
    document: Any, behind: Any, read: int, written: int, cached: int | None, spaced: bool
) -> None:
    usage: dict[str, Any] = {"prompt_tokens": read, "completion_tokens": written, "total_tokens": read + written}
    if cached is not None:
        usage["prompt_tokens_details"] = {"cached_tokens": cached, "audio_tokens": 0}
    whole = {"choices": document, "usage": usage, "metadata": behind}
    text = json.dumps(whole, indent=1 if spaced else None).encode()
    assert find_usage(text) == Usage(read, written, cached or 0)


@pytest.mark.parametrize(
    ("text", "usage"),
    [
        (b'{"usage":{"prompt_tokens":3,"completion_tokens":5}}', Usage(3, 5)),
        (b'{"usage":{"input_tokens":3,"output_tokens":5,"output_tokens_details":{"reasoning_tokens":2}}}',
         Usage(3, 5, 0, 2)),
        (b'{"usage":{"input_tokens":3,"cache_read_input_tokens":10,"cache_creation_input_tokens":4,"output_tokens":1}}',
         Usage(17, 1, 10)),
        (b'data: {"usage":null}\n\ndata: {"usage":{"prompt_tokens":1,"completion_tokens":2}}\n\ndata: [DONE]\n\n',
         Usage(1, 2)),
        (b'{"usage":{"prompt_tokens":1,"completion_tokens":0},"x":{"usage":{"type":"object"}}}', Usage(1, 0)),
        (b'{"properties":{"usage":{"type":"object"}}}', None),
        (b'{"usage":{"prompt_tokens":"many"}}', None),
        (b'{"usage":{"prompt_tokens":1', None),
        (b'{"usage":{}}', None),
        (b'{"usage":[]}', None),
        (b'{"usage":{"prompt_tokens":1,"note":"\xff"}}', Usage(1, 0)),
        (b"", None),
    ],
)  # fmt: skip
def test_dialects(text: bytes, usage: Usage | None) -> None:
    assert find_usage(text) == usage


@pytest.mark.parametrize("text", [b'"usage":{' * 30_000, b'"usage"' * 40_000, b'"usage":{"a":{' * 20_000])
def test_hostile_answers_cost_little(text: bytes) -> None:
    begun = time.process_time()
    assert find_usage(text) is None
    assert time.process_time() - begun < 1.0


def test_usage_in_two_parts() -> None:
    assert merge(None, None) is None
    assert merge(Usage(3), None) == merge(None, Usage(3)) == Usage(3)
    assert merge(Usage(12, 1, 4), Usage(0, 30)) == Usage(12, 30, 4)


def test_content_is_counted_by_event() -> None:
    piece = (
        b'data: {"choices":[{"delta":{"role":"assistant","content":""}}]}\n\n'
        b'data: {"choices":[{"delta":{"content":"a"}}]}\n\n'
        b'data: {"choices":[{"delta":{"content":"say \\"content\\": \\"b\\""}}]}\n\n'
        b'data: {"choices":[{"text":"c"}]}\n\ndata: [DONE]\n\n'
    )
    assert count_content(piece) == 3
