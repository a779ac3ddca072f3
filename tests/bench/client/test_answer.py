"""Events are counted the same by their bytes as by their JSON."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.bench.client.answer import Events, counts, whole

CHAT, COMPLETIONS = "/v1/chat/completions", "/v1/completions"
TEXTS = st.text(max_size=12)
DELTAS = st.one_of(
    st.fixed_dictionaries({"content": st.one_of(st.none(), TEXTS)}),
    st.fixed_dictionaries({"reasoning_content": TEXTS}),
    st.fixed_dictionaries({"role": st.just("assistant"), "content": TEXTS}),
    st.just({}),
)


def has_content(delta: dict[str, Any]) -> bool:
    return bool(delta.get("content") or delta.get("reasoning_content"))


@given(st.lists(DELTAS, max_size=12), st.booleans(), st.booleans(), st.data())
def test_events_are_counted_as_their_json_says_however_they_are_cut(
    deltas: list[dict[str, Any]], compact: bool, carriage: bool, data: st.DataObject
) -> None:
    separators = (",", ":") if compact else (", ", ": ")
    end = "\r\n\r\n" if carriage else "\n\n"
    made = "".join(
        f"data: {json.dumps({'choices': [{'index': 0, 'delta': delta}]}, separators=separators)}{end}"
        for delta in deltas
    )
    stream = (made + f"data: [DONE]{end}").encode()
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=6)))
    if carriage:
        cuts = []  # a cut between \r and \n is the server's own framing, and no chunk ends there
    events = Events(CHAT, keep=True)
    found = sum(events.feed(stream[a:b]) for a, b in zip([0, *cuts], [*cuts, len(stream)], strict=True))
    assert found == sum(map(has_content, deltas))
    assert events.done
    assert events.text == "".join(str(delta.get("content") or delta.get("reasoning_content") or "") for delta in deltas)


def test_the_other_apis() -> None:
    responses = Events("/v1/responses", keep=True)
    stream = (
        b'event: response.output_text.delta\ndata: {"type":"response.output_text.delta","delta":"hi"}\n\n'
        b'event: response.completed\ndata: {"type":"response.completed","response":{"usage":{"input_tokens":3,'
        b'"output_tokens":1}}}\n\n'
    )
    assert responses.feed(stream) == 1
    assert (responses.done, responses.text, counts(responses.usage)) == (True, "hi", (3, 1, 0))
    messages = Events("/v1/messages", keep=False)
    stream = (
        b'data: {"type":"content_block_delta","delta":{"type":"text_delta","text":"hi"}}\n\n'
        b'data: {"type":"message_delta","delta":{"stop_reason":"end"},"usage":{"output_tokens":1}}\n\n'
        b'data: {"type":"message_stop"}\n\n: a comment\n\n'
    )
    assert messages.feed(stream) == 1
    assert messages.done
    completions = Events(COMPLETIONS, keep=False)
    assert completions.feed(b'data: {"choices":[{"text":"a"}]}\n\ndata: {"choices":[{"text":""}]}\n\n') == 1


@pytest.mark.parametrize("body", [b"[]", b"nothing", b'"text"'])
def test_what_is_no_answer(body: bytes) -> None:
    with pytest.raises(ValueError, match=r".+"):
        whole(body)
