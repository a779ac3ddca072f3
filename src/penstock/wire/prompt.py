"""The bytes of a request that fill an engine's prefix cache, in the order in which chat templates put them."""

import msgspec

NOTHING = msgspec.Raw()
GENERATING = (b"completions", b"responses", b"messages")
"""Ends of the paths whose engines keep a prefix: chat/completions, completions, responses, messages."""


class PromptFields(msgspec.Struct):
    """The prompt's fields at the top level of a body, as they are spelt there: skipped over, never decoded.

    A struct that reads other fields too may inherit these, so that one pass over the body serves both.
    """

    tools: msgspec.Raw = NOTHING
    system: msgspec.Raw = NOTHING
    instructions: msgspec.Raw = NOTHING
    messages: msgspec.Raw = NOTHING
    prompt: msgspec.Raw = NOTHING
    input: msgspec.Raw = NOTHING


_decode = msgspec.json.Decoder(PromptFields).decode


def prompt_of(path: bytes, body: bytes) -> bytes:
    """The prompt of a request to `path` (no query string), exact bytes; b"" where there is none or no prefix to reuse.

    Never raises: a body that is no JSON object has no prompt here.
    """
    if not path.endswith(GENERATING):
        return b""
    try:
        return prompt_from(_decode(body))
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return b""


def prompt_from(fields: PromptFields) -> bytes:
    """Tool definitions, system prompt and conversation as one run of bytes.

    The last bracket or quote is left out: it moves when the conversation goes on, and would spoil the block it is in.
    """
    parts = (fields.tools, fields.system, fields.instructions, fields.messages, fields.prompt, fields.input)
    return b"".join([bytes(part) for part in parts if part])[:-1]
