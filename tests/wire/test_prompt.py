"""The bytes that stand for a prompt."""

import json
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.core.request import Request
from penstock.wire.openai import read_call
from penstock.wire.prompt import PromptFields, has_prompt, prompt_from

CHAT = b"/v1/chat/completions"
TEXT = st.text(max_size=40)
MESSAGES = st.lists(st.fixed_dictionaries({"role": st.sampled_from(["user", "system"]), "content": TEXT}), min_size=1)


def prompt_of(path: bytes, body: bytes) -> bytes:
    request = Request(0.0)
    request.path, request.body = path, body
    call = read_call(request)
    return prompt_from(call) if has_prompt(path) else b""


def encoded(**fields: Any) -> bytes:
    return json.dumps(fields).encode()


@given(messages=MESSAGES, more=MESSAGES, model=TEXT, temperature=st.floats(0, 2))
def test_a_conversation_that_goes_on_keeps_its_prompt_as_prefix(
    messages: list[object], more: list[object], model: str, temperature: float
) -> None:
    first = prompt_of(CHAT, encoded(model=model, messages=messages, temperature=temperature))
    then = prompt_of(CHAT, encoded(temperature=0.5, stream=True, messages=messages + more, model="other"))
    assert first
    assert then.startswith(first)


@given(messages=MESSAGES, nested=MESSAGES)
def test_only_fields_of_the_top_level_count(messages: list[object], nested: list[object]) -> None:
    plain = encoded(messages=messages)
    deep = encoded(metadata={"messages": nested, "note": '"messages":[1]'}, messages=messages)
    assert prompt_of(CHAT, deep) == prompt_of(CHAT, plain)


@pytest.mark.parametrize(
    ("path", "body", "expected"),
    [
        (b"/v1/completions", b'{"prompt": "Once upon", "n": 1}', b'"Once upon'),
        (b"/v1/completions", b'{"prompt": [1, 2]}', b"[1, 2"),
        (b"/v1/responses", b' {"input": "Go", "instructions": "Be brief"}', b'"Be brief""Go'),
        (b"/v1/messages", b'{"messages": [{}], "system": "S", "tools": [7]}', b'[7]"S"[{}'),
        (b"/models/a/v1/chat/completions", b'{"messages":[1]}', b"[1"),
        (b"/v1/embeddings", b'{"input": "Go"}', b""),
        (b"/tokenize", b'{"prompt": "Go"}', b""),
        (CHAT, b"", b""),
        (CHAT, b"[1, 2]", b""),
        (CHAT, b"--boundary", b""),
        (CHAT, b'{"model": "m"}', b""),
        (CHAT, b"[" * 100_000, b""),
        (CHAT, b'{"messages": ["\xff"]}', b'["\xff"'),
    ],
)
def test_prompts(path: bytes, body: bytes, expected: bytes) -> None:
    assert prompt_of(path, body) == expected


@given(body=st.binary(max_size=200))
def test_junk_has_no_prompt_and_does_no_harm(body: bytes) -> None:
    assert prompt_of(CHAT, b"\x00" + body) == b""


def test_another_struct_may_read_the_prompt_in_its_own_pass() -> None:
    class Call(PromptFields):
        model: str = ""

    call = msgspec.json.decode(b'{"model": "m", "messages": [1, 2]}', type=Call)
    assert (call.model, prompt_from(call)) == ("m", b"[1, 2")
