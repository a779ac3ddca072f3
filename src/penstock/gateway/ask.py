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
    lines = Lines(request)
    return Ask(
        model,
        prompt_chain(prompt, routing.block_bytes, model),
        len(prompt) // BYTES_PER_TOKEN,
        min(call.most_output or USUAL_OUTPUT, 4 * USUAL_OUTPUT),
        lines.get(routing.session_header).decode("latin-1"),
        whole_number(lines.get(routing.priority_header)),
    )


def header(request: Request, name: str) -> bytes:
    """The value of a header that goes on to the engine; b"" where there is none."""
    return Lines(request).get(name)


class Lines:
    """The end-to-end headers of a request, to look a few of them up: one search each instead of a walk."""

    __slots__ = ("_lower", "_text")

    def __init__(self, request: Request) -> None:
        self._text = b"\n%b\n" % b"\n".join(request.headers)
        self._lower = self._text.lower()

    def get(self, name: str) -> bytes:
        """The value of the first header called `name`; b"" where there is none."""
        wanted = b"\n%b:" % name.lower().encode()
        at = self._lower.find(wanted)
        if at < 0:
            return b""
        at += len(wanted)
        return self._text[at : self._text.index(b"\n", at)].strip(b" \t")


def whole_number(value: bytes) -> int:
    """A small whole number, 0 where there is none: a priority is no reason to refuse a request."""
    try:
        return max(-1000, min(1000, int(value))) if len(value) <= 5 and value else 0
    except ValueError:
        return 0
