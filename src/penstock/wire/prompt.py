"""The bytes of a request that fill an engine's prefix cache, in the order in which chat templates put them."""

import msgspec

NOTHING = msgspec.Raw()
GENERATING = (b"completions", b"responses", b"messages")
"""Ends of the paths whose engines keep a prefix: chat/completions, completions, responses, messages."""


class PromptFields(msgspec.Struct):
    """The prompt's fields at the top level of a body, as they are spelt there: skipped over, never decoded.

    A struct that reads other fields too inherits these, so that one pass over the body serves both.
    """

    tools: msgspec.Raw = NOTHING
    system: msgspec.Raw = NOTHING
    instructions: msgspec.Raw = NOTHING
    messages: msgspec.Raw = NOTHING
    prompt: msgspec.Raw = NOTHING
    input: msgspec.Raw = NOTHING


def has_prompt(path: bytes) -> bool:
    """Whether requests to `path` (no query string) have a prompt whose prefix engines keep."""
    return path.endswith(GENERATING)


def prompt_from(fields: PromptFields) -> bytes:
    """Tool definitions, system prompt and conversation as one run of bytes.

    The last bracket or quote is left out: it moves when the conversation goes on, and would spoil the block it is in.
    """
    # Most requests have messages alone.
    if fields.tools is fields.system is fields.instructions is fields.prompt is fields.input is NOTHING:
        return bytes(fields.messages)[:-1]
    parts = (fields.tools, fields.system, fields.instructions, fields.messages, fields.prompt, fields.input)
    return b"".join([bytes(part) for part in parts if part is not NOTHING])[:-1]
