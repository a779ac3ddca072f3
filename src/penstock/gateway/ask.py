"""What a request asks of an engine, read from its bytes."""

from penstock.config.routing import Routing
from penstock.core.request import Request
from penstock.policy.route.facts import Ask
from penstock.policy.route.prefix import prompt_chain
from penstock.wire.openai import BYTES_PER_TOKEN, Call
from penstock.wire.prompt import prompt_of

SOLE = Ask("")
"""Stands for every request that has no choice: nothing of it is read."""
USUAL_OUTPUT = 256
"""Tokens an answer is taken to have when the client sets no bound."""


def ask_of(request: Request, call: Call, routing: Routing) -> Ask:
    """The Ask of a request that several engines could answer."""
    model = call.model or ""
    prompt = prompt_of(request.path, request.body)
    return Ask(
        model,
        chain=prompt_chain(prompt, routing.block_bytes, model),
        prompt_tokens=len(prompt) // BYTES_PER_TOKEN,
        output_tokens=min(call.most_output or USUAL_OUTPUT, 4 * USUAL_OUTPUT),
        session=header(request, routing.session_header).decode("latin-1"),
        priority=whole_number(header(request, routing.priority_header)),
    )


def header(request: Request, name: str) -> bytes:
    """The value of a header that goes on to the engine; b"" where there is none."""
    wanted = name.lower().encode() + b":"
    for line in request.headers:
        if line[: len(wanted)].lower() == wanted:
            return line[len(wanted) :].strip(b" \t")
    return b""


def whole_number(value: bytes) -> int:
    """A small whole number, 0 where there is none: a priority is no reason to refuse a request."""
    try:
        return max(-1000, min(1000, int(value))) if len(value) <= 5 and value else 0
    except ValueError:
        return 0
