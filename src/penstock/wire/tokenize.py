"""vLLM's `/tokenize`: what to ask for the token ids of a request's prompt, and its answer."""

from typing import Any

import msgspec

from penstock.wire.prompt import NOTHING

PATH = b"/tokenize"
MEDIA = (
    b'"image_url"',
    b'"input_image"',
    b'"input_audio"',
    b'"audio_url"',
    b'"video_url"',
    b'"image_embeds"',
    b'"file"',
)
"""Keys and types of content that is more than text. Inside a string their quotes would be escaped."""


class _Fields(msgspec.Struct):
    """What the token ids of a prompt depend on, as it is spelt in the body."""

    messages: msgspec.Raw = NOTHING
    prompt: msgspec.Raw = NOTHING
    tools: msgspec.Raw = NOTHING
    add_special_tokens: msgspec.Raw = NOTHING
    add_generation_prompt: msgspec.Raw = NOTHING
    continue_final_message: msgspec.Raw = NOTHING
    chat_template: msgspec.Raw = NOTHING
    chat_template_kwargs: dict[str, Any] | None = None
    documents: msgspec.Raw = NOTHING
    reasoning_effort: msgspec.Raw = NOTHING
    cache_salt: Any = None
    prompt_embeds: Any = None
    truncate_prompt_tokens: Any = None


class _Answer(msgspec.Struct):
    tokens: list[int]


PASSED = ("add_special_tokens", "add_generation_prompt", "continue_final_message", "chat_template", "tools")
_fields = msgspec.json.Decoder(_Fields).decode
_ids = msgspec.json.Decoder(list[int]).decode
_answer = msgspec.json.Decoder(_Answer).decode


class Question(msgspec.Struct):
    """What the token ids of a prompt are found by."""

    ids: list[int] | None = None
    """The prompt is token ids already."""
    body: bytes = b""
    """Of a request to `/tokenize`."""


def question(path: bytes, body: bytes, model: str) -> Question | None:
    """How to find the token ids of a request's prompt. None where the ids do not tell what is cached: content besides
    text, a salt, several prompts, or an endpoint whose prompt `/tokenize` does not know."""
    try:
        fields = _fields(body)
        if fields.cache_salt is not None or fields.prompt_embeds is not None:
            return None
        if fields.truncate_prompt_tokens is not None:
            return None
        if path.endswith(b"/chat/completions"):
            return _of_chat(fields, model)
        return _of_prompt(fields, model) if path.endswith(b"/completions") else None
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return None


def _of_chat(fields: _Fields, model: str) -> Question | None:
    messages = bytes(fields.messages)
    if not messages or any(kind in messages for kind in MEDIA):
        return None
    asked: dict[str, object] = {"model": model, "messages": fields.messages, **_passed(fields)}
    kwargs = dict(fields.chat_template_kwargs or {})
    # A chat's template is given these two as well; `/tokenize` takes them in this way only.
    if fields.documents is not NOTHING:
        kwargs["documents"] = fields.documents
    if fields.reasoning_effort is not NOTHING:
        kwargs["reasoning_effort"] = fields.reasoning_effort
    if kwargs:
        asked["chat_template_kwargs"] = kwargs
    return Question(body=msgspec.json.encode(asked))


def _of_prompt(fields: _Fields, model: str) -> Question | None:
    prompt = bytes(fields.prompt)
    if prompt[:1] == b'"':
        asked = {"model": model, "prompt": fields.prompt}
        if fields.add_special_tokens is not NOTHING:
            asked["add_special_tokens"] = fields.add_special_tokens
        return Question(body=msgspec.json.encode(asked))
    return Question(ids=_ids(prompt)) if prompt[:1] == b"[" else None


def _passed(fields: _Fields) -> dict[str, msgspec.Raw]:
    return {name: value for name in PASSED if (value := getattr(fields, name)) is not NOTHING}


def read_ids(body: bytes) -> list[int]:
    """The token ids of an answer. Raises msgspec.MsgspecError or UnicodeDecodeError when it is none."""
    return _answer(body).tokens
